"""However raw rows are split into deliveries, EVENTS ends as the plain rule says: the first arrival of each id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import ArrayType, StringType, StructField, StructType

from purchasepath.sources.books import Books, count_verdicts
from purchasepath.sources.cleaning import REASONS, judge
from purchasepath.sources.delivery import History, add_to_history, replace_history
from purchasepath.sources.history import FIRST
from purchasepath.sources.mapping import FIELDS, OWN_PREFIX
from purchasepath.sources.pseudonyms import pseudonym_of
from purchasepath.sources.raw import FILE, RAW
from purchasepath.storage.data_files import Partition
from purchasepath.tables.catalog import EVENT_CHANGES, EVENTS, USER_KEYS
from purchasepath.tables.types import Table
from tests.sources.reading import KEY

Event = dict[str, Any]

READ = StructType([*(f for f in EVENTS.spark_schema().fields if f.name in (*FIELDS, "tie_order")),
                   *(StructField(name, StringType()) for name in (RAW, FILE, f"{OWN_PREFIX}hash")),
                   StructField(REASONS, ArrayType(StringType()))])
READ_ARROW = pa.schema([*(f for f in EVENTS.arrow_schema() if f.name in (*FIELDS, "tie_order")),
                        *((name, pa.string()) for name in (RAW, FILE, f"{OWN_PREFIX}hash")),
                        (REASONS, pa.list_(pa.string()))])
START = datetime(2024, 1, 1, tzinfo=UTC)


def raw_row(
    event_id: str, user: str, login: str | None, day: int, lag: int, price: float | None, broken: bool,
    tie_order: int = 0,
) -> Event:
    """A row as `read_rows` gives it; rows that differ in nothing but the last argument are exact duplicates."""
    at = START + timedelta(days=day, hours=20)
    content = f"{event_id} {user} {login} {day} {lag} {price} {broken}"
    return dict.fromkeys(READ.names) | {
        "event_id": event_id, "user_id": user, "login_id": login, "event_ts": at, "price": price, "quantity": 1,
        "arrived_at": at + timedelta(hours=lag), "event_type": "view", "promotion": False,
        "tie_order": tie_order, RAW: content, FILE: "a.csv",
        f"{OWN_PREFIX}hash": content, REASONS: ["odd"] if broken else []}


RAW_ROWS = st.builds(
    raw_row, st.sampled_from([f"e{n}" for n in range(8)]), st.sampled_from("uv"), st.sampled_from([None, "boss"]),
    st.integers(0, 2), st.sampled_from([0, 1, 24, 48]), st.sampled_from([None, 1.0, 2.0]),
    st.sampled_from([False, False, False, True]), st.integers(0, 2))
DELIVERIES = st.lists(st.lists(RAW_ROWS, min_size=6, max_size=16), min_size=2, max_size=3).flatmap(
    lambda made: st.permutations([*made, made[0]]))  # one of them comes twice, at any place


class Memory:
    """Tables in memory, with the contract of a transaction."""

    def __init__(self, spark: SparkSession) -> None:
        self.spark = spark
        self.rows: dict[str, list[Event]] = {}

    def write(self, table: Table, frame: DataFrame, *, partitions: Sequence[Partition] | None = None,
              append: bool = False) -> int:
        written = table.select(frame).toArrow().to_pylist()
        named = [tuple(p.values()) for p in partitions or []]
        if partitions is not None and not append:
            assert all(partition(table, row) in named for row in written)
        stays = append or partitions is not None
        old = [row for row in self.rows.get(table.name, []) if stays and partition(table, row) not in named]
        self.rows[table.name] = old + written
        return len(written)

    def materialize(self, frame: DataFrame, name: str) -> DataFrame:
        return self.spark.createDataFrame(frame.toArrow(), frame.schema)

    def frame(self, table: Table) -> DataFrame:
        return self.spark.createDataFrame(pa.Table.from_pylist(self.rows[table.name], table.arrow_schema()),
                                          table.spark_schema())

    def deliver(self, rows: Sequence[Event], run_id: str) -> Books:
        arrow = pa.Table.from_pylist([{**row, FILE: f"{n}.csv"} for n, row in enumerate(rows)], READ_ARROW)
        judged = self.materialize(judge(self.spark.createDataFrame(arrow, READ), KEY), "judged")
        books = count_verdicts(judged, len(rows)).check()
        if not self.rows:
            return replace_history(self, judged, books).books
        history = History(self.frame(EVENTS), self.frame(USER_KEYS))
        return add_to_history(self, judged, books, history, run_id).books


def partition(table: Table, row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in table.partition_by)


def by_the_rule(rows: Sequence[Event]) -> list[Event]:
    """EVENTS by a plain loop: of each id the row that is first in the order FIRST, nulls first, largest `tie_order`."""
    first: dict[str, Event] = {}
    for row in rows:
        ids = {name: row[name] and pseudonym_of(KEY, row[name]) for name in ("user_id", "login_id")}
        event = {name: (row | ids).get(name) for name in EVENTS.names} | {"event_date": row["event_ts"].date()}
        if not row[REASONS] and (event["event_id"] not in first or rank(event) < rank(first[event["event_id"]])):
            first[event["event_id"]] = event
    return sorted(first.values(), key=lambda event: event["event_id"])


def rank(event: Event) -> list[Any]:
    return [*((event[name] is not None, event[name]) for name in FIRST), -event["tie_order"]]


def triples(rows: Sequence[Event]) -> set[tuple[Any, ...]]:
    return {(row["user_id"], row["event_id"], row["event_ts"]) for row in rows}


def check_deliveries(spark: SparkSession, deliveries: Sequence[Sequence[Event]]) -> None:
    memory = Memory(spark)
    seen: list[Event] = []
    kept = 0
    known: set[tuple[Any, ...]] = set()
    for number, delivery in enumerate(deliveries):
        books = memory.deliver(delivery, f"run {number}")
        seen += delivery
        kept += books.accepted - books.replaced
        events = sorted(memory.rows[EVENTS.name], key=lambda event: event["event_id"])
        assert events == by_the_rule(seen)
        assert len(events) == kept
        assert books.read == len(delivery)
        changes = [row for row in memory.rows[EVENT_CHANGES.name] if row["ingest_run"] == f"run {number}"]
        if number:
            gone, come = (triples([r for r in changes if r["change"] == change]) for change in ("removed", "added"))
            assert gone <= known
            assert (len(gone), len(come)) == (books.replaced, books.accepted)
            known = (known - gone) | come
        else:
            assert not changes
            known = triples(events)
        assert known == triples(events)
    people = {row[name] for row in seen if not row[REASONS] for name in ("user_id", "login_id")} - {None}
    keys = [(row["raw_id"], row["user_id"]) for row in memory.rows[USER_KEYS.name]]
    assert sorted(keys) == sorted((raw_id, pseudonym_of(KEY, raw_id)) for raw_id in people)


def test_known_new_displaced_moved_to_another_day_and_equal_rows(spark: SparkSession) -> None:
    first = [raw_row("e1", "u", None, 0, 24, 1.0, False), raw_row("e2", "u", None, 1, 1, None, False)]
    second = [
        raw_row("e1", "v", "boss", 0, 1, 1.0, False),  # arrived earlier, says another user
        raw_row("e2", "u", None, 1, 1, 1.0, False),  # arrived together, a price is after none
        raw_row("e3", "u", None, 1, 48, 1.0, False),
        raw_row("e3", "u", None, 2, 24, 1.0, True),
    ]
    moved = [raw_row("e3", "u", None, 0, 0, 1.0, False)]
    memory = Memory(spark)
    memory.deliver(first, "1")
    assert memory.deliver(second, "2") == Books(read=4, accepted=2, duplicates=1, rejected=1, known=1, replaced=1,
                                                collisions=2)  # of e1 and e2
    assert memory.deliver(moved, "3") == Books(read=1, accepted=1, duplicates=0, rejected=0, known=0, replaced=1,
                                               collisions=1)
    assert memory.deliver(first, "4") == Books(read=2, accepted=0, duplicates=2, rejected=0, known=2, replaced=0,
                                               collisions=1)  # e2 is as it was
    assert sorted(memory.rows[EVENTS.name], key=lambda e: e["event_id"]) == by_the_rule(first + second + moved)


@settings(max_examples=2, deadline=None)
@given(deliveries=DELIVERIES)
def test_any_split_in_any_order_gives_the_same_events(spark: SparkSession, deliveries: list[list[Event]]) -> None:
    check_deliveries(spark, deliveries)


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(deliveries=DELIVERIES)
def test_any_split_in_any_order_gives_the_same_events_often(
    spark: SparkSession, deliveries: list[list[Event]]
) -> None:
    check_deliveries(spark, deliveries)
