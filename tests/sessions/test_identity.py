"""Accounts, persons and stitched events against a plain loop over random histories."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings
from pyspark.sql import DataFrame, SparkSession

from purchasepath.sessions.identity import link_accounts, persons, persons_as_of, stitch
from purchasepath.tables.catalog import EVENTS
from tests.sessions.oracle import in_order

T0 = datetime(2024, 1, 1, tzinfo=UTC)
AS_OF = [T0 + timedelta(minutes=m) for m in (-5, -2, 2, 7)]
ONE_US = timedelta(microseconds=1)

event = st.fixed_dictionaries({
    "user_id": st.sampled_from(["u", "v", "w"]),
    "login_id": st.sampled_from([None, None, "a", "b"]),
    "event_type": st.sampled_from(["view", "cart"]),
    "tie_order": st.sampled_from([None, None, 0]),
    "event_ts": st.integers(0, 10).map(lambda m: T0 + timedelta(minutes=m - 5)),  # around midnight
    "lag": st.sampled_from([0, 0, 1, 5]).map(lambda m: timedelta(minutes=m)),
})
histories = st.lists(event, min_size=1, max_size=30).map(lambda events: [
    {**e, "event_id": f"e{i:02d}", "arrived_at": e["event_ts"] + e["lag"]} for i, e in enumerate(events)])


def frame(spark: SparkSession, history: list[dict[str, Any]]) -> DataFrame:
    rows = [{k: v for k, v in e.items() if k != "lag"} | {"event_date": e["event_ts"].date()} for e in history]
    return EVENTS.frame(spark, rows).repartition(3)


def timelines(history: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    by_user: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for e in sorted(history, key=in_order):
        by_user[e["user_id"]].append(e)
    return by_user


def known_from(e: dict[str, Any]) -> datetime:
    return max(e["event_ts"] + ONE_US, e["arrived_at"])


def stretches(timeline: list[dict[str, Any]]) -> list[tuple[str, datetime, datetime | None, datetime, int]]:
    """(login, from, to, known from, events) in order."""
    logged_in = [e for e in timeline if e["login_id"]]
    runs = [list(run) for _, run in groupby(logged_in, key=lambda e: e["login_id"])]
    ends: Iterator[datetime | None] = iter([*(run[0]["event_ts"] for run in runs[1:]), None])
    return [(run[0]["login_id"], run[0]["event_ts"], next(ends), min(map(known_from, run)), len(run)) for run in runs]


@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories)
def test_accounts_persons_and_stitched_events_equal_the_plain_loop(spark: SparkSession, history: list[Any]) -> None:
    events, by_user = frame(spark, history), timelines(history)
    identities = link_accounts(events).cache()
    expected = {(user, number, *row) for user, timeline in by_user.items()
                for number, row in enumerate(stretches(timeline), start=1)}
    found = {(r.user_id, r.stretch, r.login_id, utc(r.valid_from), utc(r.valid_to), utc(r.known_from), r.num_events)
             for r in identities.collect()}
    assert found == expected

    now = {user: stretches(timeline) for user, timeline in by_user.items()}
    assert {(r.user_id, r.person_id, r.num_accounts) for r in persons(events, identities).collect()} == {
        (user, rows[-1][0] if rows else user, len({row[0] for row in rows})) for user, rows in now.items()}

    assert {r.event_id: r.user_id for r in stitch(events, identities).collect()} == {
        e["event_id"]: owner(now[e["user_id"]], e) for e in history}

    points = spark.createDataFrame([(user, at) for user in by_user for at in AS_OF], "user_id string, as_of timestamp")
    assert {(r.user_id, utc(r.as_of)): r.person_id for r in persons_as_of(points, identities).collect()} == {
        (user, at): person_then(timeline, at) for user, timeline in by_user.items() for at in AS_OF}


def owner(rows: list[Any], e: dict[str, Any]) -> str:
    begun = [login for login, start, *_ in rows if start <= e["event_ts"]]
    return e["login_id"] or (begun or [row[0] for row in rows[:1]] or [e["user_id"]])[-1]


def person_then(timeline: list[dict[str, Any]], at: datetime) -> str:
    """From the events known at that time alone, so nothing later can leak into it."""
    known = [e["login_id"] for e in timeline if e["login_id"] and known_from(e) <= at]
    return (known or [timeline[0]["user_id"]])[-1]


def utc(at: datetime | None) -> datetime | None:
    """Spark hands out local times without a zone; these tests run in whatever zone the machine has."""
    return at.astimezone(UTC) if at else None
