"""Packing, ordering, cutting and summarizing by whole columns, without Spark, against the plain loop."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purchasepath.config import Sessions
from purchasepath.sessions.engine import partition as spread_module
from purchasepath.sessions.engine.chunks import Border
from purchasepath.sessions.engine.crawlers import find_crawlers
from purchasepath.sessions.engine.hashing import hash_ids
from purchasepath.sessions.engine.partition import HeavyUser, Partitioner, chunk_numbers
from purchasepath.sessions.engine.sessionize import cutter
from purchasepath.sessions.engine.shuffle import EVENT_COLUMNS, UserRuns, blocks_of, runs_of
from purchasepath.sessions.engine.timeline import order_events
from tests.sessions.oracle import Event, sessions_of, t, tie_order, to_us
from tests.sessions.test_sessionize import configs, event, timelines


def table(events: list[Event]) -> pa.Table:
    """The columns a task gets."""
    rows = [{
        **{name: e.get(name) for name in ("user_id", *EVENT_COLUMNS.names)}, "event_us": to_us(e["event_ts"]),
        "arrival_lag_us": to_us(e["arrived_at"]) - to_us(e["event_ts"]), "tie_order": tie_order(e),
        "crawler": find_crawlers(pa.array([e["agent"]], pa.string()))[0].as_py(),
    } for e in events]
    return pa.Table.from_pylist(rows, schema=pa.schema([pa.field("user_id", pa.string()), *EVENT_COLUMNS]))


def packed(events: list[Event], partitioner: Partitioner, tasks: int = 1) -> dict[int, UserRuns]:
    """What the shuffle brings to each bucket, of events that lie in several tasks."""
    size = -(-len(events) // tasks)
    rows: list[dict[str, Any]] = []
    for start in range(0, len(events), size):
        part = table(events[start:start + size])
        bucket, order = partitioner.assign(part)
        rows += blocks_of(part, partitioner.names[bucket], order).to_pylist()
    names = {row["bucket"] for row in rows}
    return {name: runs_of([row["held"] for row in rows if row["bucket"] == name],
                            [pa.py_buffer(row["block"]) for row in rows if row["bucket"] == name]) for name in names}


def sessions(events: list[Event], config: Sessions, tasks: int = 1) -> list[dict[str, Any]]:
    cut_bucket = cutter(config, {})
    return [row for name, runs in packed(events, Partitioner(3, 2), tasks).items()
            for row in cut_bucket(name, runs).to_pylist()]


def check(events: list[Event], config: Sessions, tasks: int) -> None:
    expected = sessions_of(events, config)
    found = {row["session_id"]: row for row in sessions(events, config, tasks)}
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert {name: found[key][name] for name in row} == row


@settings(max_examples=60, deadline=None)
@given(events=timelines(), config=configs, tasks=st.integers(1, 3))
def test_whole_columns_equal_the_plain_loop(events: list[Event], config: Sessions, tasks: int) -> None:
    check(events, config, tasks)


@settings(max_examples=30, deadline=None)
@given(events=timelines(), config=configs, tasks=st.integers(1, 3))
def test_visitors_with_one_hash_are_kept_apart(events: list[Event], config: Sessions, tasks: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spread_module, "hash_ids", lambda ids: np.full(len(ids), 7, dtype=np.uint64))
        check(events, config, tasks)


@given(events=timelines())
@settings(max_examples=30, deadline=None)
def test_times_too_far_apart_for_one_number_are_ordered_all_the_same(events: list[Event]) -> None:
    far = [*events, event(9000, t(0) - timedelta(days=365 * 1500), user_id="u3")]
    runs = packed(far, Partitioner(1, 1)).popitem()[1]
    found = order_events(UserRuns(runs.user_ids, runs.sizes, {
        **runs.columns, "event_us": pa.array(runs.columns["event_us"].to_numpy() * 100)}))
    users = np.repeat(np.array(runs.user_ids.to_pylist(), dtype=object), runs.sizes)
    rows = sorted(zip(users, *(runs.columns[name].to_pylist() for name in ("event_us", "tie_order", "event_id")),
                      strict=True))
    assert found.column("event_id").to_pylist() == [event_id for *_, event_id in rows]


def test_ties_are_ordered_by_the_bytes_of_the_event_id() -> None:
    events = [{**event(0, t(0)), "event_id": name} for name in ("b", "é", "B", "a", "")]
    found = order_events(packed(events, Partitioner(1, 1)).popitem()[1])
    assert found.column("event_id").to_pylist() == ["", "B", "a", "b", "é"]
    assert found.opens.tolist() == [True, False, False, False, False]


def test_ties_are_ordered_by_their_tie_order_before_their_ids() -> None:
    events = [{**event(n, t(0)), "tie_order": order} for n, order in enumerate([2, 1, 2, 0, 1])]
    found = order_events(packed([event(9, t(-1)), *events, event(8, t(1))], Partitioner(1, 1)).popitem()[1])
    assert found.column("event_id").to_pylist() == ["e0009", "e0003", "e0001", "e0004", "e0000", "e0002", "e0008"]


def test_a_border_inside_an_instant_divides_by_tie_order_then_id() -> None:
    events = [{**event(n, t(0)), "tie_order": order} for n, order in enumerate([5, 3, 4, 4, 4])]
    border = Border(to_us(t(0)), 4, "e0003", 0)
    assert chunk_numbers(table(events), np.arange(5), (border,)).tolist() == [1, 0, 0, 1, 1]


def test_sessions_of_a_bucket_come_by_day_then_visitor_then_time() -> None:
    events = [event(n, t(24 * 60 * (n % 3) + 60 * (n % 7)), user_id=f"u{n % 5}") for n in range(200)]
    runs = packed(events, Partitioner(1, 1)).popitem()[1]
    rows = cutter(Sessions(), {})(0, runs).to_pylist()
    order = [(row["session_date"], row["user_id"], row["started_at"]) for row in rows]
    assert order == sorted(order)
    assert len({day for day, *_ in order}) == 3


@pytest.mark.parametrize(("times", "sizes"), [
    (["2018-11-04 02:40", "2018-11-04 02:59", "2018-11-04 03:00", "2018-11-04 03:10"], [2, 2]),  # the day begins at 1
    (["2018-02-18 01:40", "2018-02-18 01:59", "2018-02-18 02:10", "2018-02-18 02:40", "2018-02-18 03:05"], [4, 1]),
    (["2018-02-17 01:50", "2018-02-17 02:05"], [1, 1]),  # in the night after this one the hour before comes twice
])
def test_a_day_ends_where_the_local_date_changes_whatever_the_clocks_do(times: list[str], sizes: list[int]) -> None:
    events = [event(n, datetime.fromisoformat(f"{at}Z")) for n, at in enumerate(times)]
    found = sessions(events, Sessions(cut_at_midnight=True, timezone="America/Sao_Paulo"))
    found.sort(key=lambda row: row["started_at"])
    assert [row["num_events"] for row in found] == sizes
    assert [row["cut_reason"] for row in found] == ["midnight", "gap"]


def test_the_longest_pause_and_session_are_as_good_as_never() -> None:
    century = 24 * 36_500
    events = [event(0, datetime(1970, 1, 1, tzinfo=UTC)), event(1, datetime(2069, 12, 1, tzinfo=UTC))]
    never = Sessions(gap_minutes=60 * century, max_hours=century, bot_window_seconds=3600 * century)
    assert [row["num_events"] for row in sessions(events, never)] == [2]


def test_revenue_is_added_in_event_order() -> None:
    prices = [0.1, 1e16, -1e16, 0.3, 0.7, 1e-9, 12.34, 0.1, 0.2]
    events = [event(n, t(n), event_type="purchase", price=price) for n, price in enumerate(prices)]
    expected = 0.0
    for price in prices:
        expected += price
    assert [row["revenue"] for row in sessions(events, Sessions())] == [expected]


def test_rows_of_a_heavy_visitor_go_to_the_chunk_their_time_and_id_belong_to() -> None:
    events = [event(n, t(0) + timedelta(minutes=n // 2)) for n in range(6)] + [event(9, t(1), user_id="other")]
    rows = table(events)
    second = Border(to_us(t(1)), tie_order(events[3]), "e0003", 0)  # of two events at minute 1
    heavy = HeavyUser("u", (second,))
    partitioner = Partitioner(5, 2, (heavy,))
    bucket, order = partitioner.assign(rows)
    assert bucket[:6].tolist() == [5, 5, 5, 6, 6, 6]
    assert bucket[6] == Partitioner(5, 2).assign(rows)[0][6] < 5
    assert bucket[order].tolist() == sorted(bucket)
    assert list(partitioner.closing_reasons()) == [partitioner.names[5]]
    assert chunk_numbers(rows, np.arange(6), ()).tolist() == [0] * 6


@given(num_buckets=st.integers(1, 300), num_tasks=st.integers(1, 40))
def test_buckets_are_dealt_to_the_tasks_in_turn(num_buckets: int, num_tasks: int) -> None:
    names = Partitioner(num_buckets, num_tasks).names
    assert len(set(names.tolist())) == num_buckets
    assert (spread_module.spark_hash(names) % num_tasks).tolist() == [n % num_tasks for n in range(num_buckets)]


@given(ids=st.lists(st.text(max_size=20), min_size=1), start=st.integers(0, 5))
def test_a_hash_depends_on_the_id_alone(ids: list[str], start: int) -> None:
    column = pa.array(ids, pa.string())
    alone = [hash_ids(pa.array([name]))[0] for name in ids]
    assert hash_ids(column).tolist() == alone
    assert hash_ids(column.slice(start)).tolist() == alone[start:]
    assert hash_ids(column.dictionary_encode()).tolist() == alone
    assert len(set(alone)) == len(set(ids))
