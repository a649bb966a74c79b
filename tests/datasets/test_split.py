"""The split in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from purchasepath.config import Dataset
from purchasepath.datasets.split import DataTooShortError, split_by_time

FIRST = datetime(2024, 1, 1, 5, tzinfo=UTC)
WEEK = Dataset(horizon_hours=168, valid_hours=168, test_hours=168)


def test_the_split_ends_at_the_first_midnight_after_the_data() -> None:
    split = split_by_time(FIRST, datetime(2024, 2, 10, 13, tzinfo=UTC), WEEK, every_hours=168)
    assert split.test_end == datetime(2024, 2, 11, tzinfo=UTC)
    assert split.valid_end == datetime(2024, 2, 4, tzinfo=UTC)
    assert split.train_end == datetime(2024, 1, 28, tzinfo=UTC)


@pytest.mark.parametrize(("hours_before_train_end", "name"), [
    (168, "train"), (167, None), (1, None), (0, "valid"), (-1, None), (-168, "test"), (-169, None), (-336, None),
])
def test_an_as_of_time_belongs_to_the_split_that_holds_its_whole_horizon(
    hours_before_train_end: float, name: str | None
) -> None:
    split = split_by_time(FIRST, datetime(2024, 2, 10, 13, tzinfo=UTC), WEEK, every_hours=168)
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
        split_by_time(FIRST, FIRST + timedelta(days=days), config, every_hours)
    for word in ("dataset.valid_hours=", "dataset.test_hours=", "dataset.horizon_hours=", "features.every_hours=",
                 "2024-01-01 05:00"):
        assert word in str(error.value)


def test_hours_of_data_can_be_split_with_small_knobs() -> None:
    config = Dataset(horizon_hours=0.25, valid_hours=0.5, test_hours=0.5)
    split = split_by_time(FIRST, FIRST + timedelta(hours=2.8), config, every_hours=0.25)
    assert split.test_end - FIRST == timedelta(hours=3)
