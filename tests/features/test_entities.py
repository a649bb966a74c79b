"""User, item and session features: equal to nested loops, blind to the future and to what arrives late."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from purchasepath.config import Sessions
from purchasepath.features.as_of import as_of_times, tile_length_us
from purchasepath.features.merging import merge_items, merge_users
from purchasepath.features.sessions import summarize_sessions
from purchasepath.features.tiles import events_of_days, summarize_item_tiles, summarize_touches, summarize_user_tiles
from purchasepath.sessions.engine.sessionize import sessionize
from purchasepath.tables.catalog import EVENTS
from purchasepath.tables.features import (
    ITEM_FEATURES_DECLARED,
    SESSION_FEATURES,
    SESSION_FEATURES_DECLARED,
    USER_FEATURE_NAMES,
)
from tests.features.oracle import DAY, item_rows, known, user_rows

Rows = dict[tuple[str, datetime], dict[str, Any]]

START = datetime(2024, 1, 1, tzinfo=UTC)
END = START + timedelta(days=50)
US = timedelta(microseconds=1)
CONFIG = Sessions(bot_events_per_window=4, bot_window_seconds=100)
TIMES = as_of_times(START, END - US, 168)
T = TIMES[4]


def event(name: str, user: str, at: datetime, **values: Any) -> dict[str, Any]:
    return {"event_id": name, "user_id": user, "event_ts": at, "arrived_at": at, "event_type": "view", "item_id": None,
            "category": None, "price": None, "quantity": 1, "channel": None, "promotion": False, **values}


def random_events() -> list[dict[str, Any]]:
    """Eight users in bursts over 50 days; ties, late events, missing values, items that change price and category."""
    rng = random.Random(5)
    events = []
    for n in range(420):
        at = START + timedelta(
            days=rng.choice([0, 3, 4, 11, 20, 27, 28, 30, 41, 48, 49]), hours=rng.choice([0, 5, 6, 23]),
            seconds=rng.choice([0, 0, 1, 30, 600]), microseconds=rng.choice([0, 0, 7]))
        item = rng.choice([None, "a", "b", "c", "d", "e"])
        events.append(event(
            f"{rng.random():.12f}-{n}", f"u{min(rng.randrange(10), 7)}", at,
            arrived_at=at + rng.choice([timedelta(0)] * 6 + [US, timedelta(hours=3), 8 * DAY, -timedelta(seconds=5)]),
            event_type=rng.choice(["view", "view", "view", "cart", "remove", "purchase", "search", "checkout"]),
            item_id=item, category=None if item is None else rng.choice(["x", "x", "x", "y", None]),
            price=rng.choice([None, 1.0, 2.5, 3.0 if item == "e" else 4.0]), quantity=rng.randint(1, 3),
            channel=rng.choice([None, "direct", "search", "email", "ad", "other"]), promotion=rng.random() < 0.3))
    return events


def edge_events() -> list[dict[str, Any]]:
    return [
        event("edge-1", "at t", T), event("edge-2", "just before t", T - US),
        event("edge-3", "7 d before t", T - 7 * DAY), event("edge-4", "earlier than 7 d", T - 7 * DAY - US),
        event("edge-5", "arrives at t", T - DAY, arrived_at=T),
        event("edge-6", "arrives later", T - DAY, arrived_at=T + US),
        event("edge-7", "long ago", START + timedelta(hours=1), event_type="purchase", price=9.0),
        *(event(f"edge-bot-{n}", "bot", T - DAY + timedelta(seconds=n)) for n in range(4)),
    ]


EVENTS_AT_HAND = random_events() + edge_events()


def collect(frame: DataFrame, key: str) -> Rows:
    found = {}
    for row in frame.collect():
        values = row.asDict()
        as_of = values.pop("as_of").astimezone(UTC)
        assert values.pop("as_of_date") == as_of.date()
        assert (values[key], as_of) not in found
        found[values.pop(key), as_of] = values
    return found


def features(spark: SparkSession, events: list[dict[str, Any]], times: list[datetime] = TIMES,
             every_hours: float = 168) -> tuple[Rows, Rows]:
    """(user rows, item rows) as the pipeline computes them: events, sessions, tiles, features."""
    sessions = sessionize(EVENTS.frame(spark, events), CONFIG).cache()
    of_days = events_of_days(sessions, {e["event_ts"].date() for e in events}, tile_length_us(every_hours))
    touches = summarize_touches(of_days).cache()
    users = merge_users(summarize_user_tiles(of_days, sessions, CONFIG), touches, times)
    items = merge_items(summarize_item_tiles(of_days), touches, times)
    found = collect(users, "user_id"), collect(items, "item_id")
    sessions.unpersist()
    touches.unpersist()
    return found


@pytest.fixture(scope="module")
def found(spark: SparkSession) -> tuple[Rows, Rows]:
    return features(spark, EVENTS_AT_HAND)


def check_equal(found: Rows, expected: Rows) -> None:
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert found[key].keys() == row.keys()
        for name, value in row.items():
            close = value if isinstance(value, str | None) else pytest.approx(value, rel=1e-6, abs=2e-6)
            assert found[key][name] == close, (key, name)


def test_every_feature_equals_the_nested_loops(found: tuple[Rows, Rows]) -> None:
    users, items = found
    expected_items = item_rows(EVENTS_AT_HAND, TIMES)
    check_equal(items, expected_items)
    check_equal(users, user_rows(EVENTS_AT_HAND, TIMES, CONFIG))
    # the data must have reached every feature: none has the same value in all rows
    assert {n for n in USER_FEATURE_NAMES if len({r[n] for r in users.values()}) == 1} == set()
    assert {f.name for f in ITEM_FEATURES_DECLARED if len({r[f.name] for r in items.values()}) == 1} == set()


def test_windows_begin_with_their_first_moment_and_end_before_t(found: tuple[Rows, Rows]) -> None:
    users, _ = found
    assert ("at t", T) not in users  # an event at t is of the future
    assert ("at t", TIMES[5]) in users
    assert users["just before t", T]["events_1d"] == 1
    assert users["7 d before t", T]["events_7d"] == 1
    assert users["earlier than 7 d", T]["events_7d"] == 0
    assert users["earlier than 7 d", T]["events_30d"] == 1


def test_an_event_counts_from_its_arrival_on(found: tuple[Rows, Rows]) -> None:
    users, _ = found
    assert users["arrives at t", T]["events_7d"] == 1
    assert ("arrives later", T) not in users
    assert users["arrives later", TIMES[5]]["events_30d"] == 1


def test_a_user_gone_for_longer_than_all_windows_still_has_a_row(found: tuple[Rows, Rows]) -> None:
    row = found[0]["long ago", TIMES[-1]]
    assert (row["events_30d"], row["revenue_30d"], row["price_position_30d"]) == (0, 0, 0.5)
    assert (row["days_since_event_30d"], row["days_since_purchase_30d"]) == (30, 30)


def test_events_in_quick_succession_make_a_bot(found: tuple[Rows, Rows]) -> None:
    users, _ = found
    assert users["bot", T]["is_bot_30d"] == 1
    assert users["just before t", T]["is_bot_30d"] == 0


def test_nothing_that_comes_after_t_changes_features_at_t(spark: SparkSession, found: tuple[Rows, Rows]) -> None:
    rng = random.Random(6)
    past = known(EVENTS_AT_HAND, T)
    unknown = [e for e in EVENTS_AT_HAND if e not in past]
    kept = [e for e in unknown if rng.random() < 0.5]
    changed = [e | {"event_type": "purchase", "item_id": "a", "category": "y", "price": 99.0, "channel": "email",
                    "user_id": f"u{rng.randrange(8)}"} for e in kept]
    # new ones right behind known ones (in their sessions), and late ones in between them
    added = [event(f"new-{n}", e["user_id"], T + (e["event_ts"] - START) / 50, item_id="b", price=50.0, category="x")
             for n, e in enumerate(past)]
    late = [event(f"late-{n}", e["user_id"], e["event_ts"] + rng.choice([-US, timedelta(0), US]),
                  arrived_at=T + rng.choice([US, DAY]), event_type="cart", item_id="c", category="y", price=70.0,
                  channel="ad") for n, e in enumerate(past)]
    assert min(len(kept), len(added), len(unknown) - len(kept)) > 20
    users, items = features(spark, past + changed + added + late)
    for before, after in zip(found, (users, items), strict=True):
        upto_t = {key: row for key, row in before.items() if key[1] <= T}
        check_equal({key: row for key, row in after.items() if key[1] <= T}, upto_t)
        assert {key for key in before if key[1] > T} != {key for key in after if key[1] > T} or any(
            before[key] != after[key] for key in before if key[1] > T)


def test_session_features_worked_out_by_hand(spark: SparkSession) -> None:
    at = datetime(2024, 1, 6, 23, 50, tzinfo=UTC)  # a Saturday
    minute = timedelta(minutes=1)
    events = [
        event("1", "u", at, item_id="a", category="x", price=2.0, channel="email"),
        event("2", "u", at + 2 * minute, item_id="b", category="x", price=4.0, promotion=True),
        event("3", "u", at + 15 * minute, event_type="cart", item_id="a", category="x", price=2.0),
        event("4", "u", at + 20 * minute, event_type="cart", item_id="b", category="x", price=4.0),
        event("5", "u", at + 25 * minute, event_type="purchase", item_id="a", category="x", price=2.0, quantity=3),
    ]
    sessions = sessionize(EVENTS.frame(spark, events), CONFIG)
    frame = summarize_sessions(sessions)
    assert SESSION_FEATURES.differences(frame) == []
    [row] = frame.collect()
    expected = {
        "events": 5, "views": 2, "searches": 0, "carts": 2, "removes": 0, "checkouts": 0, "purchases": 1, "revenue": 6,
        "items": 2, "categories": 1, "duration_minutes": 25, "minutes_per_event": 5, "events_per_item": 2.5,
        "view_to_cart": 1, "open_carts": 1, "minutes_to_cart": 15, "price_viewed": 3, "lowest_price_viewed": 2,
        "highest_price_viewed": 4, "last_price_viewed": 4, "promotion_share": 0.2, "start_hour": 23, "start_weekday": 5,
        "from_direct": 0, "from_search": 0, "from_email": 1, "from_ad": 0, "is_bot": 0,
    }
    assert {f.name: row[f.name] for f in SESSION_FEATURES_DECLARED} == pytest.approx(expected)
    assert (row["session_date"], row["user_id"]) == (at.date(), "u")
