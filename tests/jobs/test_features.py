"""features: tables brought up to date with SESSIONS; day by day the same as all at once."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from jobs import features
from purchasepath.config import Sessions, load_config
from purchasepath.errors import InputError, TableMissingError
from purchasepath.features import build
from purchasepath.job import Job
from purchasepath.sessions.engine.sessionize import sessionize
from purchasepath.tables.catalog import EVENTS, SESSIONS
from purchasepath.tables.features import FEATURE_TABLES, ITEM_FEATURES, USER_FEATURE_NAMES, USER_FEATURES
from purchasepath.tables.partials import PARTIAL_TABLES, USER_PARTIALS

T0 = datetime(2024, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)

Event = dict[str, Any]


def open_job(spark: SparkSession, scratch: Path, *overrides: str) -> Job:
    return Job("features", load_config([], [f"paths.warehouse={scratch / 'warehouse'}", "features.every_hours=24",
                                            *overrides]), spark=spark)


def write_sessions(job: Job, events: list[Event], days: Iterable[date] | None = None) -> None:
    """SESSIONS of `events`; only the partitions `days`, as an incremental run leaves the others alone."""
    sessions = sessionize(EVENTS.frame(job.spark, events), Sessions())
    partitions = None if days is None else [{"session_date": day} for day in sorted(days)]
    if partitions is not None:
        sessions = sessions.where(sessions.session_date.isin(*(p["session_date"] for p in partitions)))
    with job.warehouse.transaction(f"sessionize-{len(events)}") as tx:
        tx.write(SESSIONS, sessions, partitions=partitions)


def tables(scratch: Path) -> dict[str, list[str]]:
    """Every row of the feature tables, in an order of its own."""
    found = {}
    for table in (*FEATURE_TABLES, *PARTIAL_TABLES[:-1]):
        rows = ds.dataset(scratch / "warehouse" / "current" / table.name, partitioning="hive").to_table().to_pylist()
        found[table.name] = sorted(repr(sorted(row.items())) for row in rows)
    return found


def random_events(seed: int, days: int, count: int) -> list[Event]:
    """Some visitors, also around midnight; one event in five arrives up to three days late."""
    rng = random.Random(seed)
    events = []
    for _ in range(count):
        at = T0.replace(hour=0) + timedelta(days=rng.randrange(days), hours=rng.choice([0, 12, 13, 23]),
                                            minutes=rng.randrange(60))
        late = timedelta(hours=rng.randrange(72)) if rng.random() < 0.2 else timedelta(0)
        item = rng.choice([None, "a", "b", "c"])
        events.append({
            "event_id": f"{rng.random():.9f}", "user_id": f"u{rng.randrange(4)}", "event_ts": at,
            "arrived_at": at + late, "event_type": rng.choice(["view", "view", "cart", "purchase", "search"]),
            "item_id": item, "category": item and "x", "price": item and rng.choice([1.0, 2.5, 4.0]), "quantity": 1})
    return events


def test_three_tables_and_their_summary(
        spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, look = [], build.find_span
    monkeypatch.setattr(build, "find_span", lambda sessions: looks.append(sessions) or look(sessions))
    job = open_job(spark, tmp_path)
    write_sessions(job, [
        {"event_id": f"e{n}", "user_id": f"u{n % 2}", "event_ts": at, "arrived_at": at, "event_type": "view",
         "item_id": f"i{n % 3}", "category": "c", "price": 1.0 + n % 3}
        for n, at in enumerate(T0 + timedelta(hours=9 * k) for k in range(6))])  # until 2024-01-03 09:00

    summary = features.run(job)

    assert summary.events == 6
    assert len(looks) == 1  # a commit that leaves SESSIONS alone asks for no second pass over it
    assert {name: rows for name, rows in summary.rows.items() if name.endswith("_features")} == {
        t.name: job.warehouse.read(t).count() for t in FEATURE_TABLES} == {
        "user_features": 6, "item_features": 8, "session_features": 6}
    assert summary.lines == [
        "as of 3 times, 2024-01-02 00:00 to 2024-01-04 00:00 UTC, every 24 h",
        f"features: {len(USER_FEATURE_NAMES)} per user, 27 per item, 28 per session",
        "computed: 3 days of session features, 4 days of partial aggregates, 3 as-of days; the rest was up to date",
    ]
    assert features.run(job).rows == {}  # nothing has changed since
    row = job.warehouse.read(USER_FEATURES).where("user_id = 'u0' AND as_of_date = '2024-01-04'").first()
    assert row is not None
    assert (row["views_1d"], row["views_7d"], row["days_since_event_30d"]) == (1, 3, 1.0)
    places = job.warehouse.read(ITEM_FEATURES).where("as_of_date = '2024-01-04'").orderBy("item_id").collect()
    assert [r["price_position_30d"] for r in places] == [0, 0.5, 1]


@pytest.mark.slow
def test_a_day_later_and_cut_off_in_between_the_tables_are_those_of_one_run_over_all(
        spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = random_events(3, days=6, count=60)
    now = T0.replace(hour=0) + 5 * DAY
    fresh = [e for e in events if e["arrived_at"] >= now]
    touched = {e["event_ts"].date() + n * DAY for e in fresh for n in (-1, 0, 1)}
    assert min(touched) > T0.date()
    daily, whole = open_job(spark, tmp_path / "daily"), open_job(spark, tmp_path / "whole")
    write_sessions(daily, [e for e in events if e["arrived_at"] < now])
    features.run(daily)
    before = daily.warehouse.fingerprints(USER_PARTIALS)
    write_sessions(daily, events, touched)

    daily = open_job(spark, tmp_path / "daily", "features.chunk_days=3")
    compute, calls = build.summarize_touches, []

    def fail_the_second_time(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise OSError("the machine went away")
        return compute(*args)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="went away"):
        patch.setattr(build, "summarize_touches", fail_the_second_time)
        features.run(daily)
    half = daily.warehouse.fingerprints(USER_PARTIALS)
    first = {path for path in half if half[path] != before.get(path)}
    assert len(first) == 3  # one chunk stands

    features.run(daily)
    done = daily.warehouse.fingerprints(USER_PARTIALS)
    assert {path for path in done if done[path] == half.get(path)} > first  # it was not computed again
    assert done["event_date=2024-01-01"] == before["event_date=2024-01-01"]  # nothing came for that day

    write_sessions(whole, events)
    features.run(whole)
    assert tables(tmp_path / "daily") == tables(tmp_path / "whole")


@pytest.mark.slow
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10**6), every_hours=st.sampled_from([24, 168, 6, 36]), cuts=st.integers(1, 3))
def test_any_split_into_runs_gives_the_tables_of_one_run(
        spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, seed: int, every_hours: float,
        cuts: int) -> None:
    scratch, rng = tmp_path_factory.mktemp("split"), random.Random(seed)
    events = random_events(seed, days=9, count=120)
    setting = f"features.every_hours={every_hours}"
    batches = [rng.randrange(cuts + 1) for _ in events]  # in any order, not that of time
    delivered: list[Event] = []
    for batch in range(cuts + 1):
        fresh = [e for e, number in zip(events, batches, strict=True) if number == batch]
        delivered += fresh
        touched = {e["event_ts"].date() + n * DAY for e in fresh for n in (-1, 0, 1)}
        job = open_job(spark, scratch / "split", setting, f"features.chunk_days={rng.randint(1, 9)}")
        write_sessions(job, delivered, touched if batch else None)
        features.run(job)
    write_sessions(open_job(spark, scratch / "whole", setting), events)
    features.run(open_job(spark, scratch / "whole", setting))
    assert tables(scratch / "split") == tables(scratch / "whole")


@pytest.mark.slow
def test_a_login_alone_brings_the_features_of_persons_up_to_date(spark: SparkSession, tmp_path: Path) -> None:
    def view(name: str, user: str, day: int, login: str | None = None, late: int = 0) -> Event:
        at = T0 + day * DAY
        return {"event_id": name, "user_id": user, "event_ts": at, "arrived_at": at + late * DAY, "login_id": login,
                "event_type": "view", "event_date": at.date()}

    events = [view("1", "phone", 0), view("2", "laptop", 1, "anna"), view("3", "phone", 5)]
    too_late_for_a_session = view("4", "phone", 0, "anna", late=4)

    def views_of_the_phone(logins: list[Event], *overrides: str) -> list[float]:
        job = open_job(spark, tmp_path, "features.every_hours=24", *overrides)
        with job.warehouse.transaction(f"ingest-{len(logins)}") as tx:
            tx.write(EVENTS, EVENTS.frame(spark, [*events, *logins]))
        features.run(job)
        rows = job.warehouse.read(USER_FEATURES).where("user_id = 'phone'").orderBy("as_of").collect()
        return [row["views_30d"] for row in rows]

    write_sessions(open_job(spark, tmp_path), events)
    assert views_of_the_phone([]) == [1, 1, 1, 1, 1, 2]
    assert views_of_the_phone([], "features.identity=person") == [1, 1, 1, 1, 1, 2]
    assert views_of_the_phone([too_late_for_a_session], "features.identity=person") == [1, 1, 1, 1, 2, 3]
    assert views_of_the_phone([too_late_for_a_session]) == [1, 1, 1, 1, 1, 2]


def test_without_sessions_features_says_what_to_do(spark: SparkSession, tmp_path: Path) -> None:
    job = open_job(spark, tmp_path)
    with pytest.raises(TableMissingError, match=r"spark-submit\.sh sessionize"):
        features.run(job)
    write_sessions(job, [])
    with pytest.raises(InputError, match="table sessions is empty"):
        features.run(open_job(spark, tmp_path))
