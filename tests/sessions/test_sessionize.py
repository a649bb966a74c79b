"""SESSIONS against a plain loop, and the properties that hold whatever the data."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession

from purchasepath.config import Sessions
from purchasepath.sessions.engine.sessionize import sessionize
from purchasepath.sessions.visitors import count_visitors, describe_heavy_users
from purchasepath.tables.catalog import EVENTS, SESSIONS
from tests.sessions.oracle import T0, Event, sessions_of, t

SMALL = Sessions(gap_minutes=30, max_hours=2, max_events=4, cut_on_campaign=True, cut_at_midnight=True,
                 timezone="America/New_York", bot_events_per_window=3, bot_window_seconds=60, bot_max_events=4)


def event(number: int, at: Any, **values: Any) -> dict[str, Any]:
    row = {"event_id": f"e{number:04d}", "user_id": "u", "event_ts": at, "arrived_at": at, "event_type": "view",
           "item_id": None, "price": None, "quantity": 1, "campaign": None, "channel": None, "promotion": False,
           "tie_order": None, "agent": None}
    return {**row, **values}


def sessionized(frame: DataFrame, config: Sessions, **how: int) -> dict[str, dict[str, Any]]:
    found = {}
    for row in sessionize(frame, config, **how).collect():
        values = row.asDict()
        for name in ("started_at", "ended_at"):
            values[name] = values[name].astimezone(UTC)  # Spark hands out naive local times
        assert values["session_id"] not in found
        found[values["session_id"]] = values
    return found


def check(spark: SparkSession, events: list[Event], config: Sessions, **how: int) -> None:
    found = sessionized(EVENTS.frame(spark, events), config, **how)
    expected = sessions_of(events, config)
    assert {key: {name: row[name] for name in expected[key]} if key in expected else row
            for key, row in found.items()} == expected


# pauses around the gap, the window of the bot rule and the cap on hours: ties and exact values must be common
pauses = st.sampled_from([0, 0, 1, 29_999_999, 30_000_000, 60_000_000, 60_000_001, 600_000_000, 1_799_999_999,
                          1_800_000_000, 1_800_000_001, 5_400_000_000, 7_200_000_000, 20_000_000_000])
maybe_campaign = st.sampled_from([None, None, "spring", "summer"])


@st.composite
def timelines(draw: st.DrawFn) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    for user in range(draw(st.integers(1, 8))):
        at = T0 + timedelta(hours=draw(st.sampled_from([0, 3, 4])))
        for pause in draw(st.lists(pauses, min_size=1, max_size=25)):
            at += timedelta(microseconds=pause)
            events.append(event(
                draw(st.integers(0, 5)) * 1000 + len(events), at, user_id=f"u{user}",
                arrived_at=at + timedelta(microseconds=draw(st.sampled_from([0, 5, 86_400_000_000]))),
                event_type=draw(st.sampled_from(["view", "cart", "purchase"])),
                item_id=draw(st.sampled_from([None, "a", "b"])), price=draw(st.sampled_from([None, 0.1, 2.5])),
                quantity=draw(st.integers(1, 3)), campaign=draw(maybe_campaign),
                channel=draw(st.sampled_from([None, "ad", "email"])), promotion=draw(st.booleans()),
                tie_order=draw(st.sampled_from([None, 0, 1, 6 << 27])),
                agent=draw(st.sampled_from([*[None] * 8, *["Firefox/149.0"] * 8, "Seenbot/2.1"])),
            ))
    return draw(st.permutations(events))


# a few configurations rather than any: Spark compiles a plan per configuration
configs = st.sampled_from([
    Sessions(),
    SMALL,
    Sessions(gap_minutes=0.5, max_hours=0.5, max_events=3, bot_events_per_window=2, bot_window_seconds=30),
    Sessions(gap_minutes=600, max_hours=2, max_events=5, cut_at_midnight=True, timezone="Asia/Kolkata"),
    Sessions(max_hours=1.5, max_events=1000, cut_on_campaign=True, bot_max_events=4),
])


@settings(max_examples=3, deadline=None)
@given(events=timelines(), config=configs)
def test_sessions_equal_the_plain_loop(spark: SparkSession, events: list[Event], config: Sessions) -> None:
    check(spark, events, config)


@settings(max_examples=3, deadline=None)
@given(events=timelines(), config=configs, bucket_events=st.integers(2, 6))
def test_timelines_cut_in_chunks_are_the_same_sessions(
        spark: SparkSession, events: list[Event], config: Sessions, bucket_events: int) -> None:
    check(spark, events, config, bucket_events=bucket_events)


def test_event_exactly_at_the_gap_stays_in_the_session(spark: SparkSession) -> None:
    events = [event(0, t(0)), event(1, t(30)), event(2, t(60, us=1))]
    found = sessionized(EVENTS.frame(spark, events), Sessions())
    assert {row["num_events"]: row["cut_reason"] for row in found.values()} == {2: "gap", 1: "gap"}


def test_caps_count_from_the_session_they_create(spark: SparkSession) -> None:
    # an event every 20 minutes: no pause, so only the caps cut; at 40 minutes the cap of 40 minutes is just met
    events = [event(n, t(20 * n)) for n in range(7)]
    by_hours = sessionized(EVENTS.frame(spark, events), Sessions(max_hours=40 / 60))
    by_count = sessionized(EVENTS.frame(spark, events), Sessions(max_events=2))
    assert sorted((r["started_at"], r["num_events"], r["cut_reason"]) for r in by_hours.values()) == [
        (t(0), 3, "max_hours"), (t(60), 3, "max_hours"), (t(120), 1, "gap")]
    assert sorted((r["started_at"], r["num_events"], r["cut_reason"]) for r in by_count.values()) == [
        (t(0), 2, "max_events"), (t(40), 2, "max_events"), (t(80), 2, "max_events"), (t(120), 1, "gap")]


def test_session_adopts_its_first_campaign_and_ends_at_another(spark: SparkSession) -> None:
    campaigns = [None, "a", None, "a", "b", None, "a"]
    events = [event(n, t(n), campaign=c) for n, c in enumerate(campaigns)]
    found = sessionized(EVENTS.frame(spark, events), Sessions(cut_on_campaign=True))
    assert sorted((r["num_events"], r["campaign"], r["cut_reason"], r["started_at"]) for r in found.values()) == [
        (1, "a", "gap", t(6)), (2, "b", "campaign", t(4)), (4, "a", "campaign", t(0))]


def test_midnight_is_local(spark: SparkSession) -> None:
    events = [event(0, t(-10)), event(1, t(10)), event(2, t(5 * 60 - 10)), event(3, t(5 * 60 + 10))]
    config = Sessions(gap_minutes=600, cut_at_midnight=True, timezone="America/New_York")
    found = sessionized(EVENTS.frame(spark, events), config)
    assert sorted((r["started_at"], r["num_events"], r["cut_reason"]) for r in found.values()) == [
        (t(-10), 3, "midnight"), (t(5 * 60 + 10), 1, "gap")]


def test_rows_do_not_depend_on_order_and_partitions(spark: SparkSession) -> None:
    events = [event(n, t(n * 7 % 90), user_id=f"u{n % 5}", campaign=["a", "b", None][n % 3], price=0.1 * n,
                    event_type="purchase") for n in range(200)]
    one = sessionized(EVENTS.frame(spark, events).coalesce(1), SMALL)
    seven = sessionized(EVENTS.frame(spark, events[::-1]).repartition(7), SMALL)
    assert one == seven
    assert len(one) > 40


def test_rates_and_sizes_flag_bots_but_keep_their_events(spark: SparkSession) -> None:
    config = Sessions(bot_events_per_window=5, bot_window_seconds=10, bot_max_events=12)
    events = [event(n, t(0) + timedelta(seconds=2.5 * n), user_id="fast") for n in range(5)]
    events += [event(100 + n, t(0) + timedelta(seconds=2.6 * n), user_id="human") for n in range(5)]
    events += [event(200 + n, t(n), user_id="endless") for n in range(12)]
    found = sessionized(EVENTS.frame(spark, events), config)
    assert {r["user_id"]: (r["is_bot"], r["num_events"]) for r in found.values()} == {
        "fast": (True, 5), "human": (False, 5), "endless": (True, 12)}


def test_one_shuffle_of_blocks_is_all_it_takes(spark: SparkSession) -> None:
    stored = EVENTS.frame(spark, [event(n, t(n)) for n in range(4)])
    plan = sessionize(stored, SMALL)._jdf.queryExecution().executedPlan().toString()
    initial = plan.split("== Initial Plan ==")[-1]
    assert initial.count("Exchange hashpartitioning(bucket") == 1
    assert initial.count("Exchange ") == 1


def test_a_block_of_many_thousand_events_is_folded_exactly(spark: SparkSession) -> None:
    events = [event(n, t(0) + timedelta(seconds=n)) for n in range(5000)]
    found = sessionized(EVENTS.frame(spark, events), Sessions(max_events=1000, max_hours=0.25))
    assert sorted(r["num_events"] for r in found.values()) == [495, *[901] * 5]  # 901: second 900 is still within


def test_no_events_are_no_sessions(spark: SparkSession) -> None:
    empty = sessionize(EVENTS.frame(spark), Sessions())
    assert empty.collect() == []
    assert SESSIONS.differences(empty) == []


def test_report_names_visitors_with_many_events_and_what_became_of_them(spark: SparkSession) -> None:
    events = [event(n, t(n), user_id="kiosk") for n in range(7)] + [event(10 + n, t(n), user_id="v") for n in range(3)]
    sessions = sessionize(EVENTS.frame(spark, events), Sessions(max_events=3))
    # in a handful of events everybody has a large share
    assert describe_heavy_users(count_visitors(sessions, 10), 10) == []
    assert describe_heavy_users(count_visitors(sessions, 10, share=0.3, least_events=7), 10) == [
        "heavy visitor kiosk: 70.0% of all events (7), worked on in one piece; 3 sessions ended by max_events 2, gap 1"]
