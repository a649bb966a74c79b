"""Agreement with known sessions: counts worked out by hand, and the real shop that brings its own."""

from __future__ import annotations

import csv
import gzip
from datetime import UTC, datetime
from pathlib import Path

from pyspark.sql import SparkSession

from purchasepath.config import Sessions
from purchasepath.sessions import agreement
from purchasepath.sessions.agreement import Agreement, measure
from purchasepath.sessions.engine.sessionize import sessionize
from purchasepath.tables.catalog import EVENTS
from tests.sessions.oracle import t


def agree(spark: SparkSession, rows: list[tuple[str, float, str | None]], config: Sessions | None = None) -> Agreement:
    """Agreement for (user, minute, known session) events."""
    events = EVENTS.frame(spark, [
        {"event_id": f"e{n}", "user_id": user, "event_ts": t(minute), "arrived_at": t(minute), "event_type": "view",
         "source_session": known} for n, (user, minute, known) in enumerate(rows)])
    known = events.selectExpr("event_id", "source_session AS known_session")
    return measure(sessionize(events, config or Sessions()), known)


def test_equal_sessions_agree_whatever_their_names(spark: SparkSession) -> None:
    # events without a known session take no part
    found = agree(spark, [("u", 0, "x"), ("u", 10, "x"), ("u", 50, "y"), ("v", 0, "z"), ("w", 1, None)])
    assert (found.known_sessions, found.exact_sessions, found.exact_share) == (3, 3, 1.0)
    assert (found.precision, found.recall, sum(found.causes.values())) == (1.0, 1.0, 0)
    assert len(found.lines()) == 1


def test_every_kind_of_disagreement_has_its_cause(spark: SparkSession) -> None:
    found = agree(spark, [
        ("cut", 0, "a"), ("cut", 3, "b"),
        ("tabs", 0, "c"), ("tabs", 1, "d"), ("tabs", 2, "c"),
        ("pause", 0, "e"), ("pause", 31, "e"),
        ("cap", 0, "f"), ("cap", 1, "f"), ("cap", 2, "f"), ("cap", 3, "f"),
        ("cookie", 0, "g"), ("same cookie", 0, "g"),
    ], Sessions(max_events=3))
    assert found.causes == {agreement.CUT_WITHOUT_PAUSE: 1, agreement.SIDE_BY_SIDE: 2, agreement.KEPT_OVER_PAUSE: 1,
                            agreement.KEPT_OVER_CAP: 1}
    assert (found.both_joined, found.ours_joined, found.known_joined) == (2, 5, 4)
    assert (found.known_sessions, found.exact_sessions, found.shared_sessions) == (7, 0, 1)
    assert found.median_pause_s == 60


def test_a_real_shops_own_sessions_are_mostly_ours(spark: SparkSession, shared_data: Path) -> None:
    rows = []
    with gzip.open(shared_data / "events" / "rees46" / "2019-Oct-head.csv.gz", "rt", encoding="utf-8") as file:
        for n, row in enumerate(csv.DictReader(file)):
            if not row["user_session"] or len(row["user_session"]) != 36:
                continue  # the sample's last line is cut short
            at = datetime.strptime(row["event_time"], "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
            rows.append({"event_id": f"{n:08d}", "user_id": row["user_id"], "event_ts": at, "arrived_at": at,
                         "event_type": row["event_type"], "item_id": row["product_id"],
                         "source_session": row["user_session"]})
    events = EVENTS.frame(spark, rows)
    found = measure(sessionize(events, Sessions()), events.selectExpr("event_id", "source_session AS known_session"))
    print("\n".join(found.lines()))
    assert found.known_sessions > 5000
    assert found.recall > 0.999  # a pause of 30 minutes ends (nearly) every session of the shop ...
    assert found.precision > 0.95  # ... but the shop also opens new ones after a minute or two, for reasons of its own
    assert found.exact_share > 0.8
