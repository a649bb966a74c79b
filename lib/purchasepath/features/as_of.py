"""The as-of times, and which events are known at which of them.

An event is known at time t when it happened before t and had arrived by t:

    event_ts < t  and  arrived_at <= t

The data ends with its newest event, which rarely lies on a boundary of tiles. Two boundaries stand for its end:

    ... |  week  |  week  |  known until the end  | not over  |
        t        t        t                 newest event      t
                          last_known_end                      the newest as-of time

What happens after a time t is known as far as the data reaches, so times to learn from are counted back from the
last boundary up to which everything is on record (`last_known_end`). What happened before t is to be seen whole by
whoever is scored, so the newest time is the first boundary after the newest event.
Tiles cut time so that every as-of time and every day boundary lies between two of them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from math import gcd

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame

from purchasepath.errors import InputError
from purchasepath.times import DAY_US, HOUR_US, from_us, to_us


def as_of_times(min_ts: datetime, max_ts: datetime, every_hours: float) -> list[datetime]:
    """As-of times (UTC), ascending, `every_hours` apart, but for the last one, which may follow sooner.

    They are `last_known_end - k * every_hours` as long as they lie after `min_ts`, and the first boundary after
    `max_ts`: the first midnight, with steps below a day the first multiple of `every_hours`, counted from the epoch.
    With these steps all of them are evenly spaced.
    """
    step_us, unit_us = round(every_hours * HOUR_US), _unit_us(every_hours)
    end_us = to_us(last_known_end(max_ts, every_hours))
    newest_us = (to_us(max_ts) // unit_us + 1) * unit_us
    count = max(0, (end_us - to_us(min_ts) - 1) // step_us + 1)
    known = [end_us - k * step_us for k in reversed(range(count))]
    return [from_us(us) for us in (known if newest_us == end_us else [*known, newest_us])]


def last_known_end(max_ts: datetime, every_hours: float) -> datetime:
    """The last boundary up to which the data reaches: nothing before it can happen after the newest event."""
    unit_us = _unit_us(every_hours)
    return from_us((to_us(max_ts) + 1) // unit_us * unit_us)


def _unit_us(every_hours: float) -> int:
    """Distance of the boundaries that may be the end of a grid; a multiple of the tiles' length."""
    return min(round(every_hours * HOUR_US), DAY_US)


def chosen_as_of(features: DataFrame, wanted: str) -> datetime:
    """The as-of time of USER_FEATURES to score at: the wanted one, or the newest. Raises InputError without one."""
    rows = features.select(F.unix_micros("as_of").alias("us")).distinct().collect()  # one small row per as-of time
    times = sorted(from_us(row["us"]) for row in rows)
    if not times:
        raise InputError("user_features has no rows; run ./spark-submit.sh features on data with events first")
    at = datetime.fromisoformat(wanted).replace(tzinfo=UTC) if wanted else times[-1]
    if at not in times:
        near = sorted(sorted(times, key=lambda time: abs(time - at))[:3])
        raise InputError(f"score.as_of={wanted}: user_features has no rows as of {at:%Y-%m-%d %H:%M} UTC; near it are "
                         + ", ".join(f"{time:%Y-%m-%dT%H:%M}" for time in near))
    return at


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
    first_us, step_us, even = to_us(times[0]), _step_us(times), _evenly_spaced(times)
    first = F.greatest(F.lit(0).cast("bigint"), _ceil_div(from_us - first_us, step_us))
    last = F.least(F.lit(even - 1).cast("bigint"), _floor_div(until_us - first_us, step_us))
    inside = F.when(first <= last, F.sequence(first, last)).otherwise(_no_positions())
    if even == len(times):
        return inside
    newest_us, newest = F.lit(to_us(times[-1])), F.array(F.lit(even).cast("bigint"))
    in_span = (from_us <= newest_us) & (newest_us <= until_us)
    return F.concat(inside, F.when(in_span, newest).otherwise(_no_positions()))


def as_of_us(times: list[datetime], position: Column) -> Column:
    """Microseconds of the as-of time at `position`."""
    even_us = position * _step_us(times) + to_us(times[0])
    if _evenly_spaced(times) == len(times):
        return even_us
    return F.when(position == len(times) - 1, F.lit(to_us(times[-1])).cast("bigint")).otherwise(even_us)


def _evenly_spaced(times: list[datetime]) -> int:
    """How many times lie on the grid of the first two: all, or all but the last."""
    on_grid = (to_us(times[-1]) - to_us(times[0])) == (len(times) - 1) * _step_us(times)
    return len(times) if on_grid else len(times) - 1


def _no_positions() -> Column:
    return F.array().cast("array<bigint>")


def _step_us(times: list[datetime]) -> int:
    return to_us(times[1]) - to_us(times[0]) if len(times) > 1 else DAY_US


def _floor_div(a: Column, b: int) -> Column:
    """Whole-number division that rounds down; Spark's own `div` rounds towards zero."""
    return ((a - F.pmod(a, F.lit(b))) / b).cast("bigint")  # exact: both stay below 2**53


def _ceil_div(a: Column, b: int) -> Column:
    return -_floor_div(-a, b)
