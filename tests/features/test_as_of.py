"""The grid of as-of times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pyspark.sql.functions as F
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from purchasepath.features.as_of import as_of_times, as_of_us, last_known_end, positions_from
from purchasepath.times import to_us

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
US = timedelta(microseconds=1)


def test_weekly_times_count_back_from_the_last_whole_day_and_the_newest_follows_the_last_event() -> None:
    times = as_of_times(START, START + timedelta(days=20, hours=7), 168)
    assert times == [START + timedelta(days=d) for d in (6, 13, 20, 21)]


def test_data_to_the_last_moment_of_a_day_ends_with_it() -> None:
    times = as_of_times(START, START + timedelta(days=21) - US, 168)
    assert times == [START + timedelta(days=d) for d in (7, 14, 21)]


def test_an_event_exactly_on_the_grid_belongs_to_the_next_time() -> None:
    assert as_of_times(START, START, 168) == [START + timedelta(days=1)]
    assert as_of_times(START, START + 2 * HOUR, 2) == [START + 2 * HOUR, START + 4 * HOUR]


@given(first=st.integers(0, 10**13), span=st.integers(0, 10**13), every=st.sampled_from([0.5, 1, 6, 24, 36, 168]))
def test_times_are_even_after_the_first_event_and_the_last_is_after_all(first: int, span: int, every: float) -> None:
    min_ts, max_ts = START + first * US, START + (first + span) * US
    times = as_of_times(min_ts, max_ts, every)
    step = timedelta(hours=every)
    end, unit = last_known_end(max_ts, every), min(step, timedelta(days=1))
    assert min_ts < times[0] <= min_ts + step
    assert max_ts < times[-1] <= max_ts + unit
    assert all(b - a == step for a, b in pairwise(times[:-1]))
    assert times[-1] == end or times[-1] - end == unit
    assert end in times or end <= min_ts
    assert all(to_us(at) % round(min(every, 24) * 3_600_000_000) == 0 for at in (end, times[-1]))


@pytest.mark.parametrize("times", [
    as_of_times(START, START + 70 * HOUR, 12), as_of_times(START, START + 200 * HOUR, 72), [START, START + 7 * HOUR],
    [START],
])
def test_positions_are_those_of_the_times_in_the_span(spark: SparkSession, times: list[datetime]) -> None:
    marks = [to_us(at) + d for at in (*times, times[0] - 12 * HOUR, times[-1] + 12 * HOUR) for d in (-1, 0, 1)]
    spans = [(a, b) for a in marks for b in marks]
    frame = spark.createDataFrame(spans, "a bigint, b bigint")
    rows = frame.select("a", "b", positions_from(times, frame.a, frame.b).alias("positions"),
                        F.transform(positions_from(times, frame.a, frame.b), lambda p: as_of_us(times, p)).alias("us")
                        ).collect()
    for row in rows:
        inside = [k for k, at in enumerate(times) if row.a <= to_us(at) <= row.b]
        assert row.positions == inside
        assert row.us == [to_us(times[k]) for k in inside]
