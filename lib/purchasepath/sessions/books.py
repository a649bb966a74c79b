"""The books of sessionize: what a run has to build, and that no event was lost or counted twice.

    events that ingest accepted = rows of EVENTS = events in SESSIONS + rows of LATE_EVENTS
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyspark.sql.functions as F
from pyspark.sql import DataFrame, SparkSession

from purchasepath.config import Sessions
from purchasepath.errors import DamagedWarehouseError
from purchasepath.sources.books import count_events_of, in_order
from purchasepath.storage.files import sha256_json
from purchasepath.storage.warehouse import Warehouse
from purchasepath.tables.catalog import EVENTS, INGEST_BOOKS, SESSIONIZE_BOOKS, SESSIONS
from purchasepath.tables.types import Table

_ALGORITHM = 2
"""Raised when the same events and configuration give other rows than before. What a release built that kept no
`run_number` is built anew, too: its last run may be one whose clock was behind."""


@dataclass(frozen=True)
class Plan:
    """Full or incremental, why, and the run it continues."""

    why_full: str
    """Why every session has to be built; '' where working in the changes is enough."""
    rules: str
    last_ingest_run: str | None
    sessionized: int = 0
    """Events in SESSIONS now."""
    accepted: int | None = None
    """Rows that EVENTS must have by the books of ingest; None where there are none."""

    @property
    def mode(self) -> str:
        return "full" if self.why_full else "incremental"

    def check(self, entry: Entry) -> Entry:
        """The entry. Raises DamagedWarehouseError where EVENTS are not what ingest accepted."""
        if self.accepted not in (None, entry.events):
            raise DamagedWarehouseError([f"table {EVENTS.name}: {entry.events:,} rows are there, "
                                         f"{self.accepted:,} were accepted by ingest"])
        return entry

    def __str__(self) -> str:
        return f"{self.mode} ({self.why_full})" if self.why_full else self.mode


@dataclass(frozen=True)
class Entry:
    """What a run did. `sessionized` and `late` are totals after it; the others are its own."""

    events: int
    sessionized: int
    late: int
    changes: int
    sessions_written: int
    sessions_retired: int

    def check(self) -> Entry:
        """This entry. Raises RuntimeError, a defect, unless the books balance."""
        if self.events != self.sessionized + self.late:
            raise RuntimeError(f"the books do not balance: {self.events:,} rows of events, but {self.sessionized:,} "
                               f"in sessions + {self.late:,} late. Nothing was published")
        return self

    def __str__(self) -> str:
        return (f"{self.changes:,} changed events, {self.sessions_written:,} sessions written, "
                f"{self.sessions_retired:,} retired")


def make_plan(warehouse: Warehouse, config: Sessions) -> Plan:
    """Full unless SESSIONS was built by the same rules from a history that has only been added to since."""
    rules = sha256_json({"algorithm": _ALGORITHM, **config.model_dump(mode="json")})
    ingests, done = _runs(warehouse, INGEST_BOOKS), _runs(warehouse, SESSIONIZE_BOOKS)
    ids = [run["run_id"] for run in ingests]
    newest = ids[-1] if ids else None
    if not done or not warehouse.exists(SESSIONS):
        return Plan("nothing was built before", rules, newest, accepted=count_events_of(ingests))
    last = done[-1]
    known = ids.index(last["last_ingest_run"]) + 1 if last["last_ingest_run"] in ids else 0
    replaced = any(run["history"] == "replace" for run in ingests[known:])
    why = "the rules of sessions have changed" if last["rules"] != rules else \
        "ingest has replaced the history" if replaced else ""
    return Plan(why, rules, newest, last["events"] - last["late"], count_events_of(ingests))


def books_row(spark: SparkSession, plan: Plan, entry: Entry, run_id: str, run_number: int) -> DataFrame:
    """One row of SESSIONIZE_BOOKS."""
    return SESSIONIZE_BOOKS.frame(spark, [{
        "run_id": run_id, "run_number": run_number, "mode": plan.mode, "rules": plan.rules,
        "last_ingest_run": plan.last_ingest_run, "changes": entry.changes, "events": entry.events, "late": entry.late,
        "sessions_written": entry.sessions_written, "sessions_retired": entry.sessions_retired,
        "finished_at": datetime.now(UTC),
    }])


def count_events_in(sessions: DataFrame) -> int:
    """Events in these sessions."""
    row = sessions.agg(F.sum("num_events").alias("events")).first()
    return int(row["events"] or 0) if row else 0


def _runs(warehouse: Warehouse, books: Table) -> list[Mapping[str, Any]]:
    """Rows of books, oldest first; [] where there are none."""
    return in_order(row.asDict() for row in warehouse.read(books).collect()) if warehouse.exists(books) else []
