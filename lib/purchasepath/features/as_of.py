"""The as-of times, and which events are known at which of them.

An event is known at time t when it happened before t and had arrived by t:

    event_ts < t  and  arrived_at <= t

The times lie on a grid that is counted back from the data's end, so the end itself (the time of scoring) is one.
Tiles cut time so that every as-of time and every day boundary lies between two of them.
"""

from __future__ import annotations

from datetime import datetime
from math import gcd

import pyspark.sql.functions as F
from pyspark.sql import Column

from purchasepath.times import DAY_US, HOUR_US, from_us, to_us


def as_of_times(min_ts: datetime, max_ts: datetime, every_hours: float) -> list[datetime]:
    """As-of times (UTC), ascending: `end - k * every_hours` as long as they lie after `min_ts`.

    `end` is the first multiple of `every_hours` after `max_ts`, counted from the epoch; with steps of a day
    and more it is the first midnight after `max_ts`.
    """
    step_us = round(every_hours * HOUR_US)
    unit_us = min(step_us, DAY_US)
    end_us = (to_us(max_ts) // unit_us + 1) * unit_us
    count = (end_us - to_us(min_ts) - 1) // step_us + 1
    return [from_us(end_us - k * step_us) for k in reversed(range(count))]


def tile_length_us(every_hours: float) -> int:
    """Length of a tile: it divides a day and the distance of the as-of times."""
    return gcd(round(every_hours * HOUR_US), DAY_US)


def tile_start_us(at_us: Column, tile_us: int) -> Column:
    """Start of the tile a moment lies in."""
    return at_us - F.pmod(at_us, F.lit(tile_us))


def next_boundary_us(at_us: Column, tile_us: int) -> Column:
    """First start of a tile at or after a moment."""
    return at_us + F.pmod(-at_us, F.lit(tile_us))


def positions_from(times: list[datetime], from_us: Column, until_us: Column) -> Column:
    """Positions in `times` of the as-of times in [from_us, until_us]; an empty array where there is none."""
    first_us, step_us = to_us(times[0]), _step_us(times)
    first = F.greatest(F.lit(0).cast("bigint"), _ceil_div(from_us - first_us, step_us))
    last = F.least(F.lit(len(times) - 1).cast("bigint"), _floor_div(until_us - first_us, step_us))
    return F.when(first <= last, F.sequence(first, last)).otherwise(F.array().cast("array<bigint>"))


def as_of_us(times: list[datetime], position: Column) -> Column:
    """Microseconds of the as-of time at `position`."""
    return position * _step_us(times) + to_us(times[0])


def _step_us(times: list[datetime]) -> int:
    return to_us(times[1]) - to_us(times[0]) if len(times) > 1 else DAY_US


def _floor_div(a: Column, b: int) -> Column:
    """Whole-number division that rounds down; Spark's own `div` rounds towards zero."""
    return ((a - F.pmod(a, F.lit(b))) / b).cast("bigint")  # exact: both stay below 2**53


def _ceil_div(a: Column, b: int) -> Column:
    return -_floor_div(-a, b)
