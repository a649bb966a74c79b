"""SESSIONS and the tables beside it, from all events at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import pyspark.sql.functions as F
from pyspark.sql import DataFrame, SparkSession

from purchasepath.config import Sessions
from purchasepath.sessions.books import Entry, count_events_in
from purchasepath.sessions.engine.files import SessionFiles
from purchasepath.sessions.engine.redirects import AllSuperseded
from purchasepath.sessions.engine.rewrite import Files
from purchasepath.sessions.engine.rules import Timely
from purchasepath.sessions.engine.source import FileSource
from purchasepath.sessions.lateness import arrived_late, keep_late
from purchasepath.storage.data_files import Partition, data_files_of
from purchasepath.storage.parquet import read_footers
from purchasepath.storage.warehouse import Transaction, Warehouse
from purchasepath.tables.catalog import EVENT_CHANGES, EVENTS, LATE_EVENTS, SESSIONS, SUPERSEDED_SESSIONS
from purchasepath.tables.types import Table


@dataclass(frozen=True)
class Run:
    """One run of sessionize: where from, where to, by which rules. Nothing is visible before `tx` ends."""

    spark: SparkSession
    warehouse: Warehouse
    tx: Transaction
    config: Sessions
    run_id: str

    def files(self, table: Table, partitions: Sequence[Partition] | None = None) -> Files:
        """Its stored files, of these partitions or all."""
        return tuple(self.warehouse.data_files(table, partitions))

    def files_before(self, table: Table) -> Files:
        """The same; none of a table that was never written."""
        return self.files(table) if self.warehouse.exists(table) else ()


def build_all(run: Run) -> Entry:
    """Write every session anew; the checked entry for the books. Makes all recorded changes obsolete."""
    taken = take_changes(run)
    num_changes = run.warehouse.read(EVENT_CHANGES).where(F.col("ingest_run").isin(taken)).count() if taken else 0
    events = run.files(EVENTS)
    source = FileSource(run.spark, EVENTS, [file.address for file in events], Timely(run.config))
    written = run.tx.write(SESSIONS, SessionFiles(source, run.config))
    late = run.tx.write(LATE_EVENTS, _late_of(run.warehouse.read(EVENTS), run.config))
    before = run.files_before(SESSIONS)
    built = data_files_of(SESSIONS, run.tx.written(SESSIONS))
    run.tx.write(SUPERSEDED_SESSIONS, AllSuperseded(run.spark, run.config, run.run_id, before,
                                                    run.files_before(SUPERSEDED_SESSIONS), tuple(built)))
    return Entry(events=count_stored(events), sessionized=count_events_in(run.tx.read(SESSIONS)), late=late,
                 changes=num_changes, sessions_written=written, sessions_retired=count_stored(before)).check()


def count_stored(files: Files) -> int:
    """Rows, from the files' footers."""
    return sum(footer.num_rows for footer in read_footers(file.address for file in files))


def take_changes(run: Run) -> list[str]:
    """Take the changes recorded so far out of EVENT_CHANGES: the runs of ingest that did.

    What another run records meanwhile stays for the next time.
    """
    runs = sorted(unquote(path.partition("=")[2]) for path in run.warehouse.fingerprints(EVENT_CHANGES))
    if runs:
        nothing = run.warehouse.read(EVENT_CHANGES).limit(0)
        run.tx.write(EVENT_CHANGES, nothing, partitions=[{"ingest_run": name} for name in runs])
    return runs


def _late_of(events: DataFrame, config: Sessions) -> DataFrame:
    """LATE_EVENTS of all events. A first pass reads the times alone: most days have none."""
    days = [row["event_date"] for row in events.where(arrived_late(config)).select("event_date").distinct().collect()]
    return keep_late(events.where(F.col("event_date").isin(days)), config)
