"""SESSIONS and the tables beside it, from all events at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from urllib.parse import unquote

import pyspark.sql.functions as F
from pyspark.sql import DataFrame, SparkSession

from purchasepath.config import Sessions
from purchasepath.sessions.books import Entry, count_events_in
from purchasepath.sessions.engine.source import FileSource
from purchasepath.sessions.engine.summary import sessionize
from purchasepath.sessions.engine.writing import SessionFiles
from purchasepath.sessions.lateness import Timely, is_late, keep_late, keep_timely
from purchasepath.sessions.superseded import find_superseded
from purchasepath.storage.warehouse import Rows, Transaction, Warehouse
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

    def stored(self, *tables: Table) -> list[DataFrame]:
        """Those of the tables that were ever written."""
        return [self.warehouse.read(table) for table in tables if self.warehouse.exists(table)]


def build_all(run: Run) -> Entry:
    """Write every session anew; the checked entry for the books. Makes all recorded changes obsolete."""
    taken = take_changes(run)
    num_changes = run.warehouse.read(EVENT_CHANGES).where(F.col("ingest_run").isin(taken)).count() if taken else 0
    events = run.warehouse.read(EVENTS)
    written = run.tx.write(SESSIONS, _all_sessions(run))
    late = run.tx.write(LATE_EVENTS, _late_of(events, run.config))
    published = [published_ids(table, run.run_id) for table in run.stored(SESSIONS, SUPERSEDED_SESSIONS)]
    sessions = run.tx.read(SESSIONS)
    nothing = published_ids(sessions.limit(0), run.run_id)
    run.tx.write(SUPERSEDED_SESSIONS, find_superseded(reduce(DataFrame.unionByName, published, nothing), sessions))
    return Entry(events=count_stored_events(run), sessionized=count_events_in(sessions), late=late,
                 changes=num_changes, sessions_written=written,
                 sessions_retired=sum(table.count() for table in run.stored(SESSIONS))).check()


def _all_sessions(run: Run) -> Rows:
    files = run.warehouse.local_files(EVENTS)
    if files is None:
        return sessionize(keep_timely(run.warehouse.read(EVENTS), run.config), run.config)
    return SessionFiles(FileSource(run.spark, EVENTS, files, Timely(run.config)), run.config)


def count_stored_events(run: Run) -> int:
    """Rows of EVENTS, from the files' footers."""
    files = run.warehouse.local_files(EVENTS)
    return run.warehouse.read(EVENTS).count() if files is None else FileSource(run.spark, EVENTS, files).num_rows


def take_changes(run: Run) -> list[str]:
    """Take the changes recorded so far out of EVENT_CHANGES: the runs of ingest that did.

    What another run records meanwhile stays for the next time.
    """
    runs = sorted(unquote(path.partition("=")[2]) for path in run.warehouse.fingerprints(EVENT_CHANGES))
    if runs:
        nothing = run.warehouse.read(EVENT_CHANGES).limit(0)
        run.tx.write(EVENT_CHANGES, nothing, partitions=[{"ingest_run": name} for name in runs])
    return runs


def published_ids(sessions: DataFrame, run_id: str) -> DataFrame:
    """What `find_superseded` needs of SESSIONS or SUPERSEDED_SESSIONS; ids not yet superseded get this run."""
    run = F.col("run_id") if "run_id" in sessions.columns else F.lit(run_id).alias("run_id")
    return sessions.select("session_id", "user_id", "started_at", "session_date", run)


def _late_of(events: DataFrame, config: Sessions) -> DataFrame:
    """LATE_EVENTS of all events. A first pass reads the times alone: most days have none."""
    days = [row["event_date"] for row in events.where(is_late(config)).select("event_date").distinct().collect()]
    return keep_late(events.where(F.col("event_date").isin(days)), config)
