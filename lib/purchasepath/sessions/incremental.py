"""SESSIONS and the tables beside it after some events came or went: what is built equals what a full run builds.

Three tables change, each in the dirty ranges (`engine.dirty_ranges`) and nowhere else. A day whose stored rows
all stay only gains files; a day that loses a row is rewritten; all other days keep their files.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, timedelta
from itertools import count
from typing import Any

import pyspark.sql.functions as F
from pyspark.sql import DataFrame

from purchasepath.sessions.books import Entry, count_events_in
from purchasepath.sessions.engine.dirty_ranges import Changed, OfVisitors, find_dirty_ranges, scan_changes
from purchasepath.sessions.engine.files import SessionFiles, Together
from purchasepath.sessions.engine.rebuild_scope import RebuildScope, read_scope
from purchasepath.sessions.engine.redirects import SupersededFiles
from purchasepath.sessions.engine.rewrite import CopyOnWrite, InRanges, RangeFiles, group_range_files
from purchasepath.sessions.engine.rules import Timely
from purchasepath.sessions.engine.source import FileSource
from purchasepath.sessions.full import Run, count_stored, take_changes
from purchasepath.sessions.lateness import arrived_late, keep_late
from purchasepath.storage.data_files import Partition, data_files_of, files_of
from purchasepath.tables.catalog import EVENT_CHANGES, EVENTS, LATE_EVENTS, SESSIONS, SUPERSEDED_SESSIONS
from purchasepath.tables.types import Table

MOST_AT_ONCE = 2_000_000
"""Dirty ranges, or hashes of visitors, that a task may hold, some tens of bytes each. Of more ranges, the events of
their days are read again for every so many."""


def add_changes(run: Run, sessionized: int) -> Entry:
    """Work EVENT_CHANGES in and empty it; the checked entry for the books. `sessionized`: events in SESSIONS so far."""
    num_changes = written = retired = 0
    taken = take_changes(run)
    if taken:
        changed = scan_changes(_source(run, EVENT_CHANGES, "ingest_run", taken), run.config)
        changes = _source(run, EVENT_CHANGES, "ingest_run", taken, Timely(run.config))
        num_changes = changed.num_events
        packed, scope = _find_dirty_ranges(run, changed, changes)
        if scope.within:
            ranges = group_range_files(files_of(packed), MOST_AT_ONCE)
            written, retired = _write_sessions(run, scope, ranges), scope.num_retired
            _write_superseded(run, scope, ranges)
            before, after = (_on(source.read(SESSIONS), scope.within) for source in (run.warehouse, run.tx))
            lost = before.select((-F.col("num_events")).alias("num_events"))
            sessionized += count_events_in(after.select("num_events").unionByName(lost))
        if changed.late_days:
            _write_late(run, _on(run.warehouse.read(EVENT_CHANGES), taken, "ingest_run"), changed.late_days)
    return Entry(events=count_stored(run.files(EVENTS)), sessionized=sessionized,
                 late=run.tx.read(LATE_EVENTS).count(), changes=num_changes,
                 sessions_written=written, sessions_retired=retired).check()


def _find_dirty_ranges(run: Run, changed: Changed, changes: FileSource) -> tuple[DataFrame, RebuildScope]:
    """The dirty ranges and their scope. Of SESSIONS only the days are read that can matter: a few, however long the
    history, and more only where somebody's chain goes on over them."""
    days, visitors = set(changed.days), changed.visitors if changed.num_events <= MOST_AT_ONCE else None
    for attempt in count():
        sessions = _source(run, SESSIONS, "session_date", days, visitors)
        found = find_dirty_ranges(changes, sessions, changed.num_events, run.config)
        packed = run.tx.materialize(found, f"ranges_{attempt}")
        scope = read_scope(packed)
        missing = scope.needed - days
        if not missing:
            return packed, scope
        # a chain of many days: looking ahead twice as far each time keeps the rounds few
        days |= {day + timedelta(days=n) for day in missing for n in range(2**attempt)}
    raise AssertionError("unreachable")


def _source(run: Run, table: Table, column: str, values: Collection[Any],
            keep: Timely | OfVisitors | None = None) -> FileSource:
    """Those rows of some partitions that `keep` lets pass."""
    files = run.files(table, _partitions(column, values))
    return FileSource(run.spark, table, [file.address for file in files], keep)


def _write_sessions(run: Run, scope: RebuildScope, ranges: Sequence[RangeFiles]) -> int:
    """Put what the events of the ranges are now in the place of the sessions there; how many sessions."""
    losing = _partitions("session_date", scope.losing)
    events = [file.address for file in run.files(EVENTS, _partitions("event_date", scope.within))]
    built = [SessionFiles(FileSource(run.spark, EVENTS, events, InRanges(run.config, packed), scope.num_events,
                                     scope.most_of_visitor), run.config) for packed in ranges]
    return run.tx.write(SESSIONS, Together(tuple(built)), append=True, partitions=losing,
                        kept=CopyOnWrite(run.spark, run.files(SESSIONS, losing), ranges))


def _write_superseded(run: Run, scope: RebuildScope, ranges: Sequence[RangeFiles]) -> None:
    """Look at the retired sessions and at those once superseded in the ranges: where are their events now? Every
    event of a range is in a session just built, if it is in one."""
    days = _partitions("session_date", scope.within)
    built = data_files_of(SESSIONS, run.tx.written(SESSIONS))
    files = SupersededFiles(run.spark, run.config, run.run_id, sorted(scope.within),
                            run.files(SUPERSEDED_SESSIONS, days), ranges, tuple(built))
    run.tx.write(SUPERSEDED_SESSIONS, files, append=True, partitions=days)


def _write_late(run: Run, changes: DataFrame, days: Collection[date]) -> None:
    """The late ones among the changed events: told in LATE_EVENTS exactly as long as EVENTS has them."""
    ids = run.tx.materialize(changes.where(arrived_late(run.config)).select("event_id").distinct(), "late")
    events = keep_late(_on(run.warehouse.read(EVENTS), days, "event_date"), run.config)
    stored = _on(run.warehouse.read(LATE_EVENTS), days, "event_date")
    _replace_rows(run, LATE_EVENTS, "event_id", gone=stored.join(ids, on="event_id", how="left_semi"),
                  rows=events.join(ids, on="event_id", how="left_semi"))


def _replace_rows(run: Run, table: Table, key: str, *, gone: DataFrame, rows: DataFrame) -> None:
    """Take rows out of a table of days and put others in. Only days that lose rows are rewritten."""
    [column] = table.partition_by
    losing = {row[column] for row in gone.select(column).distinct().collect()}
    kept = _on(run.warehouse.read(table), losing, column).join(gone.select(key), on=key, how="left_anti")
    run.tx.write(table, rows, kept=kept, partitions=_partitions(column, losing), append=True)


def _on(rows: DataFrame, values: Collection[Any], column: str = "session_date") -> DataFrame:
    """Rows of these partitions; the files of all others are not opened."""
    return rows.where(F.col(column).isin(sorted(values)))


def _partitions(column: str, values: Collection[Any]) -> list[Partition]:
    return [{column: value} for value in sorted(values)]
