"""The global split in time: train < valid < test, ending at the last boundary that the data reaches.

    first event ............ train_end ...... valid_end ...... test_end .. newest event
    |          train        |     valid      |      test      |

A next-item target belongs to the split in which its event lies. An as-of time p belongs to the split that holds
the whole span [p, p + horizon) in which a purchase counts, so no label looks into the next split, or beyond the data:
what would happen after the newest event is not known, and never a no. What lies between test_end and the newest event
(less than a day, or than `features.every_hours`) is in no split; scoring sees it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from purchasepath.config import Dataset
from purchasepath.datasets.manifest import SPLITS, Boundaries
from purchasepath.errors import UserError
from purchasepath.features.as_of import as_of_times, last_known_end
from purchasepath.tables.tasks import LABELLED
from purchasepath.times import HOUR_US, to_us


class DataTooShortError(UserError):
    """The data does not last long enough for the configured split."""


@dataclass(frozen=True)
class Span:
    """One split: targets in [start_us, end_us), made from what was known by end_us. Microseconds, UTC."""

    name: str
    start_us: int
    end_us: int


@dataclass(frozen=True)
class TimeSplit:
    """The three spans, the tasks' horizons, and when the newest session that is over for sure may have ended."""

    train_end: datetime
    valid_end: datetime
    test_end: datetime
    horizon_hours: float
    """Of tasks without one of their own."""
    horizons: Mapping[str, float]
    """Hours, of each of LABELLED."""
    sessions_over: datetime
    """sessions whose newest event lies before it are over: a longer pause than theirs is on record"""

    @property
    def horizon_us(self) -> int:
        return round(self.horizon_hours * HOUR_US)

    @property
    def horizons_us(self) -> dict[str, int]:
        return {task: round(hours * HOUR_US) for task, hours in self.horizons.items()}

    @property
    def spans(self) -> tuple[Span, ...]:
        ends = [to_us(end) for end in (self.train_end, self.valid_end, self.test_end)]
        # everything before train_end is training, however old
        return tuple(Span(*span) for span in zip(SPLITS, [-(2**62), *ends[:2]], ends, strict=True))

    @property
    def boundaries(self) -> Boundaries:
        """The same as the manifest keeps it."""
        return Boundaries(
            self.train_end.isoformat(), self.valid_end.isoformat(), self.test_end.isoformat(), self.horizon_hours
        )

    def span_of(self, as_of: datetime) -> str | None:
        """Split of an as-of time; None where its horizon reaches over a boundary."""
        at_us = to_us(as_of)
        for span in self.spans:
            if span.start_us <= at_us and at_us + self.horizon_us <= span.end_us:
                return span.name
        return None


def split_by_time(
    first: datetime, last: datetime, config: Dataset, every_hours: float, gap_minutes: float
) -> TimeSplit:
    """The split of data whose first and last events are at `first` and `last`.

    A session may go on for `gap_minutes` after its newest event. Raises DataTooShortError where a split would be left
    without an as-of time whose `horizon_hours` it holds.
    """
    times = as_of_times(first, last, every_hours)
    test_end = last_known_end(last, every_hours)
    valid_end = test_end - timedelta(hours=config.test_hours)
    train_end = valid_end - timedelta(hours=config.valid_hours)
    over = last + timedelta(microseconds=1) - timedelta(minutes=gap_minutes)
    horizons = {task.name: config.horizons.get(task.name, config.horizon_hours) for task in LABELLED}
    split = TimeSplit(train_end, valid_end, test_end, config.horizon_hours, horizons, over)
    covered = {split.span_of(as_of) for as_of in times}
    empty = [name for name in SPLITS if name not in covered]
    if empty:
        raise DataTooShortError(_too_short(first, last, split, config, every_hours, empty))
    return split


def _too_short(
    first: datetime, last: datetime, split: TimeSplit, config: Dataset, every_hours: float, empty: list[str]
) -> str:
    return (
        f"the data lasts {(last - first) / timedelta(hours=1):.1f} hours ({first:%Y-%m-%d %H:%M} to "
        f"{last:%Y-%m-%d %H:%M}) and leaves no as-of time with a whole horizon in: {', '.join(empty)}\n"
        f"  train ends {split.train_end:%Y-%m-%d %H:%M}, valid {split.valid_end:%Y-%m-%d %H:%M}, "
        f"test {split.test_end:%Y-%m-%d %H:%M}: the last boundary of as-of times that the data reaches\n"
        f"  now: dataset.valid_hours={config.valid_hours:g}, dataset.test_hours={config.test_hours:g}, "
        f"dataset.horizon_hours={config.horizon_hours:g}, features.every_hours={every_hours:g}\n"
        "  expected: horizon_hours <= valid_hours and test_hours, every_hours small enough that an as-of time falls "
        "into each, and data that lasts longer than valid_hours + test_hours + horizon_hours up to the end of test; "
        "set them smaller, or give more data"
    )
