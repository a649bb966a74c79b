"""The split in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purchasepath.config import Dataset
from purchasepath.datasets.split import DataTooShortError, TimeSplit, split_by_time
from purchasepath.features.as_of import as_of_times

FIRST = datetime(2024, 1, 1, 5, tzinfo=UTC)
WEEK = Dataset(horizon_hours=168, valid_hours=168, test_hours=168)


US = timedelta(microseconds=1)


def split_of(last: datetime, config: Dataset = WEEK, every_hours: float = 168) -> TimeSplit:
    return split_by_time(FIRST, last, config, every_hours, gap_minutes=30)


@pytest.mark.parametrize(("last", "test_end"), [
    (datetime(2024, 2, 11, 0, 5, tzinfo=UTC), datetime(2024, 2, 11, tzinfo=UTC)),  # not a test span of five minutes
    (datetime(2024, 2, 11, 23, 59, tzinfo=UTC), datetime(2024, 2, 11, tzinfo=UTC)),  # the 11th is not over
    (datetime(2024, 2, 11, tzinfo=UTC), datetime(2024, 2, 11, tzinfo=UTC)),
    (datetime(2024, 2, 11, tzinfo=UTC) - US, datetime(2024, 2, 11, tzinfo=UTC)),  # the last moment of the 10th
    (datetime(2024, 2, 11, tzinfo=UTC) - 2 * US, datetime(2024, 2, 10, tzinfo=UTC)),
])
def test_the_split_ends_at_the_last_midnight_that_the_data_reaches(last: datetime, test_end: datetime) -> None:
    split = split_of(last)
    assert split.test_end == test_end
    assert split.valid_end == test_end - timedelta(days=7)
    assert split.train_end == test_end - timedelta(days=14)


@settings(deadline=None)  # thousands of as-of times, on a busy machine
@given(minutes=st.integers(24 * 60 * 40, 24 * 60 * 60), every=st.sampled_from([0.5, 7, 24, 36, 168]))
def test_no_label_looks_beyond_the_newest_event(minutes: int, every: float) -> None:
    last, config = FIRST + timedelta(minutes=minutes), Dataset(horizon_hours=30, valid_hours=168, test_hours=168)
    split = split_of(last, config, every)
    used = [at for at in as_of_times(FIRST, last, every) if split.span_of(at)]
    assert used
    assert all(at + timedelta(hours=30) <= last + US for at in used)
    assert last - split.test_end < timedelta(hours=min(every, 24))


def test_a_session_is_over_once_its_gap_has_passed_within_the_data() -> None:
    last = datetime(2024, 2, 11, 0, 5, tzinfo=UTC)
    assert split_of(last).sessions_over == datetime(2024, 2, 10, 23, 35, tzinfo=UTC) + US


@pytest.mark.parametrize(("hours_before_train_end", "name"), [
    (168, "train"), (167, None), (1, None), (0, "valid"), (-1, None), (-168, "test"), (-169, None), (-336, None),
])
def test_an_as_of_time_belongs_to_the_split_that_holds_its_whole_horizon(
    hours_before_train_end: float, name: str | None
) -> None:
    split = split_of(datetime(2024, 2, 11, 13, tzinfo=UTC))
    assert split.span_of(split.train_end - timedelta(hours=hours_before_train_end)) == name


@pytest.mark.parametrize(("days", "config", "every_hours", "named"), [
    (20, WEEK, 168, "train"),
    (60, Dataset(horizon_hours=200, valid_hours=168, test_hours=240), 24, "valid"),
    (60, Dataset(horizon_hours=24, valid_hours=48, test_hours=48), 168, "valid, test"),
])
def test_data_that_is_too_short_names_the_split_and_the_knobs(
    days: int, config: Dataset, every_hours: float, named: str
) -> None:
    with pytest.raises(DataTooShortError, match=f"horizon in: {named}\n") as error:
        split_of(FIRST + timedelta(days=days), config, every_hours)
    for word in ("dataset.valid_hours=", "dataset.test_hours=", "dataset.horizon_hours=", "features.every_hours=",
                 "2024-01-01 05:00"):
        assert word in str(error.value)


def test_hours_of_data_can_be_split_with_small_knobs() -> None:
    config = Dataset(horizon_hours=0.25, valid_hours=0.5, test_hours=0.5)
    assert split_of(FIRST + timedelta(hours=2.8), config, every_hours=0.25).test_end - FIRST == timedelta(hours=2.75)
