"""Ordering, cutting and summarizing by whole columns, without Spark, against the plain loop."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
from hypothesis import given, settings

from purchasepath.config import Sessions
from purchasepath.sessions.chunks import Border
from purchasepath.sessions.spread import HeavyUser, Spread
from purchasepath.sessions.summary import cut_bucket
from purchasepath.sessions.timeline import order_events
from tests.sessions.oracle import EPOCH, Event, sessions_of, t, to_us
from tests.sessions.test_summary import configs, event, timelines


def table(events: list[Event], config: Sessions, *, one_hash: bool = False) -> pa.Table:
    """The columns a task gets."""
    zone = ZoneInfo(config.timezone)
    rows = [{
        **{name: e.get(name) for name in ("user_id", "event_id", "event_type", "item_id", "price", "quantity",
                                          "promotion", "channel", "campaign")},
        "user_hash": 7 if one_hash else sum(e["user_id"].encode()), "event_us": to_us(e["event_ts"]),
        "arrival_lag_us": to_us(e["arrived_at"]) - to_us(e["event_ts"]),
        "day": e["event_ts"].astimezone(zone).date().toordinal(), "category": None, "device": None,
        "source_session": None,
    } for e in events]
    text, whole = pa.string(), pa.int64()
    types = {"user_hash": whole, "event_us": whole, "arrival_lag_us": whole, "day": pa.int32(), "price": pa.float64(),
             "quantity": pa.int32(), "promotion": pa.bool_()}
    return pa.Table.from_pylist(rows, schema=pa.schema([(name, types.get(name, text)) for name in rows[0]]))


def sessions(events: list[Event], config: Sessions, **how: bool) -> list[dict[str, Any]]:
    return cut_bucket(config, {})(0, table(events, config, **how)).to_pylist()


def check(events: list[Event], config: Sessions, **how: bool) -> None:
    expected = {(row["user_id"], row["started_at"], row["event_ids"][0]): row
                for row in sessions_of(events, config).values()}
    found = {(row["user_id"], row["started_at"], row["event_ids"][0]): row for row in sessions(events, config, **how)}
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert {name: found[key][name] for name in row if name != "session_id"} == {
            name: value for name, value in row.items() if name != "session_id"}


@settings(max_examples=60, deadline=None)
@given(events=timelines(), config=configs)
def test_whole_columns_equal_the_plain_loop(events: list[Event], config: Sessions) -> None:
    check(events, config)


@settings(max_examples=30, deadline=None)
@given(events=timelines(), config=configs)
def test_visitors_with_one_hash_are_kept_apart(events: list[Event], config: Sessions) -> None:
    check(events, config, one_hash=True)


def test_ties_are_ordered_by_the_bytes_of_the_event_id() -> None:
    events = [{**event(0, t(0)), "event_id": name} for name in ("b", "é", "B", "a", "")]
    found = order_events(table(events, Sessions()))
    assert found.table["event_id"].to_pylist() == ["", "B", "a", "b", "é"]
    assert found.opens.tolist() == [True, False, False, False, False]


def test_revenue_is_added_in_event_order() -> None:
    prices = [0.1, 1e16, -1e16, 0.3, 0.7, 1e-9, 12.34, 0.1, 0.2]
    events = [event(n, t(n), event_type="purchase", price=price) for n, price in enumerate(prices)]
    expected = 0.0
    for price in prices:
        expected += price
    assert [row["revenue"] for row in sessions(events, Sessions())] == [expected]


def test_rows_of_a_heavy_visitor_go_to_the_chunk_their_time_and_id_belong_to() -> None:
    events = [event(n, t(0) + timedelta(minutes=n // 2)) for n in range(6)] + [event(9, t(1), user_id="other")]
    rows = table(events, Sessions(), one_hash=True)
    border_us = int((t(1) - EPOCH) / timedelta(microseconds=1))
    heavy = HeavyUser("u", 7, 6, (Border(border_us, "e0003", 0),))  # the second of two events at minute 1
    assert Spread(5, (heavy,)).assign(rows).tolist() == [5, 5, 5, 6, 6, 6, 7 % 5]
    assert Spread(5).assign(rows).tolist() == [7 % 5] * 7
    assert np.array_equal(list(Spread(5, (heavy,)).closing_reasons()), [5])
