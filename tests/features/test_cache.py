"""What is out of date, by fingerprints: days, chunks, recipes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from purchasepath.config import load_config
from purchasepath.features import inputs, recipe
from purchasepath.features.as_of import tile_length_us
from purchasepath.features.cache import (
    Chunk,
    as_of_days,
    event_days,
    next_chunk,
    partition_dates,
    session_days,
    source_days,
    stale,
)
from purchasepath.tables.features import USER_FEATURES_DECLARED, Feature
from purchasepath.times import DAY_US, HOUR_US

D = date(2024, 3, 1)
DAYS = [D + timedelta(days=n) for n in range(12)]
sources = st.dictionaries(st.sampled_from(DAYS), st.sampled_from("abc"), min_size=1)


def partitions(days: dict[date, str]) -> dict[str, str]:
    return {f"session_date={day}": print_ for day, print_ in days.items()}


@given(before=sources, after=sources, reach=st.integers(1, 3))
def test_an_event_day_is_out_of_date_exactly_when_a_session_that_may_reach_it_changed(
        before: dict[date, str], after: dict[date, str], reach: int) -> None:
    old, new = (event_days(partitions(days), reach, "recipe") for days in (before, after))
    found = stale(new, old, present=old, expected=())
    changed = {day for day in {*before, *after} if before.get(day) != after.get(day)}
    assert set(found) == {day + timedelta(days=n) for day in changed for n in range(reach + 1)}
    assert found == sorted(found)
    assert changed & {*after} <= set(source_days(found, reach))


@given(before=sources, after=sources)
def test_an_as_of_day_is_out_of_date_exactly_when_a_day_before_it_changed(
        before: dict[date, str], after: dict[date, str]) -> None:
    times = [datetime(2024, 3, 1, tzinfo=UTC) + timedelta(days=n) for n in range(12)]
    old, new = (as_of_days(times, days, "recipe") for days in (before, after))
    changed = [day for day in {*before, *after} if before.get(day) != after.get(day)]
    assert stale(new, old, present=old, expected=()) == [day for day in DAYS if changed and day > min(changed)]


def test_as_of_times_that_move_within_a_day_make_it_out_of_date() -> None:
    noon = datetime(2024, 3, 1, 12, tzinfo=UTC)
    old, new = as_of_days([noon], {}, "r"), as_of_days([noon, noon + timedelta(hours=6)], {}, "r")
    assert stale(new, old, present=[D], expected=()) == [D]


def test_a_lost_partition_is_a_hole_and_an_unknown_one_goes() -> None:
    wanted = session_days(partitions({D: "a", DAYS[1]: "a"}), "r")
    assert stale(wanted, wanted, present=[D, DAYS[1]], expected=wanted) == []
    assert stale(wanted, wanted, present=[DAYS[1]], expected=wanted) == [D]
    assert stale(wanted, wanted, present=[D, DAYS[1], DAYS[5]], expected=wanted) == [DAYS[5]]


@given(sessions=st.sets(st.sampled_from(DAYS)), events=st.sets(st.sampled_from(DAYS)), size=st.integers(1, 5))
def test_chunks_take_every_day_once_oldest_first(sessions: set[date], events: set[date], size: int) -> None:
    left = sorted(sessions), sorted(events)
    taken: tuple[list[date], list[date]] = ([], [])
    while chunk := next_chunk(*left, size):
        assert len({*chunk.session_days, *chunk.event_days}) <= size
        for days, own in zip(taken, (chunk.session_days, chunk.event_days), strict=True):
            days += own
        left = [d for d in left[0] if d not in chunk.session_days], [d for d in left[1] if d not in chunk.event_days]
    assert taken == (sorted(sessions), sorted(events))
    assert not Chunk((), ())


def test_dates_of_partitions() -> None:
    assert partition_dates(["session_date=2024-03-01", "event_date=2024-03-02"]) == set(DAYS[:2])


def test_a_tile_divides_the_day_and_the_distance_of_the_as_of_times() -> None:
    lengths = {168: 24 * HOUR_US, 24: DAY_US, 36: 12 * HOUR_US, 5: HOUR_US, 6: 6 * HOUR_US, 0.05: 180_000_000}
    assert {hours: tile_length_us(hours) for hours in lengths} == lengths


def test_a_changed_declaration_input_or_setting_is_another_recipe(
        spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config([], [])
    partials, as_of, session = recipe.partials_recipe(config), recipe.as_of_recipe(config), recipe.session_recipe()
    assert recipe.partials_recipe(load_config([], ["features.chunk_days=3", "features.every_hours=24"])) == partials
    for setting in ("features.every_hours=6", "sessions.bot_events_per_window=7", "sessions.bot_window_seconds=7"):
        assert recipe.partials_recipe(load_config([], [setting])) != partials
    assert recipe.as_of_recipe(load_config([], ["features.identity=person"])) != as_of

    # a further feature of what is kept already needs new features, and the kept days go on
    further = Feature("views_14d", "user", "views", "sum", 14, "item views")
    monkeypatch.setattr(recipe, "USER_FEATURES_DECLARED", (*USER_FEATURES_DECLARED, further))
    assert recipe.as_of_recipe(config) != as_of
    assert (recipe.partials_recipe(config), recipe.session_recipe()) == (partials, session)

    monkeypatch.setattr(inputs, "NIGHT_ENDS_HOUR", 5)  # an input means something else
    assert recipe.partials_recipe(config) != partials
