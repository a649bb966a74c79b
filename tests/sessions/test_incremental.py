"""SESSIONS and the tables beside it, built as events arrive, equal what one run over all events builds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession

from jobs import sessionize as sessionize_job
from purchasepath.config import load_config
from purchasepath.job import Job, Summary
from purchasepath.sessions import incremental
from purchasepath.sessions.engine.sessionize import sessionize
from purchasepath.sessions.engine.source import FileSource
from purchasepath.sessions.lateness import keep_late, keep_timely
from purchasepath.storage.addresses import open_address
from purchasepath.storage.data_files import DataFile
from purchasepath.storage.warehouse import EmbeddedTransaction, EmbeddedWarehouse, Rows
from purchasepath.tables.catalog import EVENT_CHANGES, EVENTS, LATE_EVENTS, SESSIONS, SUPERSEDED_SESSIONS
from purchasepath.tables.types import Table
from tests.sessions.arrivals import DAY_US, Delivery, Log, arrivals, delivery
from tests.sessions.oracle import T0, sessions_of, t
from tests.storage.hive import run_in_own_process

SMALL = ("max_events=3", "max_hours=1", "cut_on_campaign=true", "cut_at_midnight=true")


class Shop:
    """A warehouse that events arrive in, sessionized after each arrival."""

    def __init__(self, spark: SparkSession, directory: Path, *rules: str, catalog: Sequence[str] = ()) -> None:
        self.spark = spark
        self.directory = directory
        self.rules = rules
        self.catalog = catalog
        self.log = Log(spark, self.open("ingest").warehouse)
        self.published: dict[str, tuple[Any, ...]] = {}
        """Session id -> its first event, of every session that ever was."""

    def open(self, name: str) -> Job:
        rules = [f"sessions.{rule}" for rule in self.rules]
        paths = [f"paths.warehouse={self.directory / 'warehouse'}"]
        return Job(name, load_config([], [*paths, *self.catalog, *rules]), spark=self.spark)

    def read(self, table: Table) -> list[dict[str, Any]]:
        return rows(self.open("check").warehouse.read(table))

    def files(self) -> dict[str, str]:
        return self.open("check").warehouse.fingerprints(SESSIONS)

    def visitors(self) -> dict[int, set[str]]:
        """Those with sessions in each stored file, wherever its name is."""
        files = [Path(file.address) for file in self.open("check").warehouse.data_files(SESSIONS)]
        return {file.stat().st_ino: set(pq.ParquetFile(file).read()["user_id"].to_pylist()) for file in files}

    def arrive(self, deliveries: Sequence[Delivery]) -> Summary:
        self.log.ingest(deliveries)
        return self.sessionize()

    def sessionize(self) -> Summary:
        summary = sessionize_job.run(self.open("sessionize"))
        self.published |= {key: first_event(row) for key, row in self.expected_sessions().items()}
        return summary

    def expected_sessions(self) -> dict[str, dict[str, Any]]:
        """By the plain loop."""
        horizon = timedelta(days=3)
        timely = [event for event in self.log.events.values() if event["arrived_at"] - event["event_ts"] <= horizon]
        return sessions_of(timely, self.open("check").config.sessions)

    def expected_superseded(self) -> dict[str, str | None]:
        now = self.expected_sessions()
        holder = {(row["user_id"], row["started_at"] + timedelta(microseconds=offset), event_id): key
                  for key, row in now.items()
                  for event_id, offset in zip(row["event_ids"], row["offsets_us"], strict=True)}
        return {key: holder.get(first) for key, first in self.published.items() if key not in now}

    def check(self) -> None:
        """Every column of every row of a full run; each id that has vanished, with the holder of its first event."""
        job = self.open("check")
        events, rules = job.warehouse.read(EVENTS), job.config.sessions
        assert self.read(SESSIONS) == rows(sessionize(keep_timely(events, rules), rules))
        assert self.read(LATE_EVENTS) == rows(keep_late(events, rules))
        assert self.read(EVENT_CHANGES) == []
        assert {row["session_id"] for row in self.read(SESSIONS)} == set(self.expected_sessions())
        gone = self.read(SUPERSEDED_SESSIONS)
        assert {row["session_id"]: row["superseded_by"] for row in gone} == self.expected_superseded()
        assert len({row["session_id"] for row in gone}) == len(gone)


def first_event(session: dict[str, Any]) -> tuple[Any, ...]:
    return session["user_id"], session["started_at"], session["event_ids"][0]


def rows(frame: DataFrame) -> list[dict[str, Any]]:
    return sorted((row.asDict() for row in frame.collect()), key=repr)


def check_arrivals(spark: SparkSession, runs: Sequence[Sequence[Delivery]], rules: Sequence[str]) -> None:
    with TemporaryDirectory() as directory:
        shop = Shop(spark, Path(directory), *rules)
        for run in runs:
            shop.arrive(run)
        shop.check()
        shop.rules = (*rules, "gap_minutes=10")
        assert shop.sessionize().lines[0].startswith("full (the rules of sessions have changed): ")
        shop.check()


@settings(max_examples=1, deadline=None, phases=[Phase.generate])
@given(seed=st.integers(0, 2**31))
def test_any_arrivals_in_any_order_give_what_one_full_run_gives(spark: SparkSession, seed: int) -> None:
    check_arrivals(spark, arrivals(seed, num_users=20, num_runs=2), SMALL)


def test_so_they_do_where_tasks_hold_few_ranges_at_once(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incremental, "MOST_AT_ONCE", 5)
    check_arrivals(spark, arrivals(7, num_users=20, num_runs=2), SMALL)


def test_so_they_do_on_an_object_store(
    spark: SparkSession, object_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spark's own connector to object stores is not at hand: what it would read and write lies beside, in files."""
    stored, stage = EmbeddedWarehouse.data_files, EmbeddedTransaction._write
    place = f"{object_store}/ü a#b+100%20"

    def on_store(*asked: Any) -> list[DataFile]:
        files = [replace(file, address=f"{place}{file.address}") for file in stored(*asked)]
        for file in files:
            upload(file)
        return files

    def upload(file: DataFile) -> None:
        store, there = open_address(file.address)
        with store.open_output_stream(there) as out:
            out.write(Path(file.address.removeprefix(place)).read_bytes())

    def write(tx: EmbeddedTransaction, table: Table, rows: Rows, location: Path, *, add: bool = False) -> None:
        if isinstance(rows, DataFrame):
            stage(tx, table, rows, location, add=add)
            return
        location.mkdir(exist_ok=True)
        for file in rows.write(f"{place}/{table.name}"):
            store, there = open_address(file.address)
            target = location / file.partition / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(store.open_input_file(there).readall())
            seen.add((table.name, add))

    seen: set[tuple[str, bool]] = set()
    monkeypatch.setattr(EmbeddedWarehouse, "data_files", on_store)
    monkeypatch.setattr(EmbeddedTransaction, "_write", write)
    check_arrivals(spark, arrivals(7, num_users=20, num_runs=2), SMALL)
    assert seen == {("sessions", False), ("sessions", True), ("superseded_sessions", False)}


@pytest.mark.slow
def test_so_they_do_with_a_hive_catalog(tmp_path: Path) -> None:
    run_in_own_process(Path(__file__).with_name("hive_arrivals.py"), tmp_path, "sessions are those of one full run")


@pytest.mark.slow
@settings(max_examples=3, deadline=None, phases=[Phase.generate])
@given(seed=st.integers(0, 2**31), rules=st.sampled_from([SMALL, ("max_events=3",), ("gap_minutes=20",)]))
def test_many_more_arrivals(spark: SparkSession, seed: int, rules: Sequence[str]) -> None:
    check_arrivals(spark, arrivals(seed, num_users=40, num_runs=4), rules)


def test_what_comes_in_time_leaves_the_files_of_ended_sessions(spark: SparkSession, tmp_path: Path) -> None:
    shop = Shop(spark, tmp_path)
    shop.arrive([delivery(user, t(minute), user=user) for user, minute in {"a": 0, "b": 100, "c": 110}.items()])
    before = shop.visitors()
    assert sorted(before.values(), key=sorted) == [{"a"}, {"b", "c"}]
    summary = shop.arrive([delivery("more", t(120), user="b")])
    assert summary.lines[0].startswith("incremental: 1 changed events, 1 sessions written, 1 retired")
    after = shop.visitors()
    assert sorted(after.values(), key=sorted) == [{"a"}, {"b"}, {"c"}]
    assert [before[file] for file in before.keys() & after.keys()] == [{"a"}]
    shop.check()


def test_a_run_writes_what_changes_touch_nothing_without_any_and_all_under_other_rules(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(spark, tmp_path)
    read: list[FileSource] = []
    monkeypatch.setattr(incremental, "FileSource", lambda *known: read.append(FileSource(*known)) or read[-1])
    first = shop.arrive([delivery(name, t(minute)) for name, minute in
                         {"a": 0, "b": 60, "next day": 24 * 60, "day 3": 48 * 60, "day 5": 96 * 60}.items()])
    assert first.rows == {"sessions": 5}
    assert first.lines[0] == "full (nothing was built before): all sessions built, 0 events left out as too late"
    before = shop.files()
    second = shop.arrive([
        delivery("joins a and b", t(30), delay_us=DAY_US),
        delivery("a session of its own", t(49 * 60)),
        delivery("too late", t(31), delay_us=3 * DAY_US + 1),
    ])
    assert second.lines == ["incremental: 3 changed events, 2 sessions written, 2 retired, 2 of 4 days untouched"]
    [events] = [source for source in read if source.table is EVENTS]
    # two have come in time, two were in the sessions that give way
    assert (events.most, events.num_rows, events.most_of_visitor) == (4, 4, 4)
    after = shop.files()
    assert [day[-2:] for day in sorted(after) if after[day] != before[day]] == ["01", "03"]
    [late] = shop.read(LATE_EVENTS)
    assert (late["event_id"], late["reason"]) == ("too late", "arrived more than 3 days after it happened")
    [gone] = shop.read(SUPERSEDED_SESSIONS)  # the session of `a` has kept its id
    joined = next(row for row in shop.read(SESSIONS) if row["num_events"] == 3)
    assert joined["event_ids"] == ["a", "joins a and b", "b"]
    assert (gone["started_at"], gone["superseded_by"]) == (joined["ended_at"], joined["session_id"])
    shop.check()

    again = shop.arrive([delivery("a", T0)])
    assert again.lines == ["incremental: 0 changed events, 0 sessions written, 0 retired, 4 of 4 days untouched"]
    assert shop.files() == after

    # came and was displaced by a row that is too late, before anybody looked: nothing is built, nothing retired
    shop.log.ingest([delivery("moved", t(240 * 60))])
    shop.log.ingest([delivery("moved", t(24 * 60 + 30), delay_us=8 * DAY_US)])
    nothing = "incremental: 3 changed events, 0 sessions written, 0 retired, 4 of 4 days untouched"
    assert shop.sessionize().lines == [nothing]
    shop.check()

    shop.rules = ("gap_minutes=10",)
    assert shop.sessionize().lines[0].startswith("full (the rules of sessions have changed): ")
    shop.check()
