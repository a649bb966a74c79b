"""How far sessions come on the way to a purchase, and where they drop off.

A session reaches step n if its events contain steps 1 to n in that order, each strictly later than the
one before it; other events may lie between them and steps may be repeated. Of view > cart > purchase:

    view cart view purchase    reaches all three steps
    cart view purchase         reaches view only: no cart after the view
"""

from __future__ import annotations

from collections.abc import Sequence

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame

from purchasepath.analysis.paths import ACCURACY, keep_people
from purchasepath.errors import ConfigError, nearest
from purchasepath.tables.catalog import EVENT_TYPES, FUNNEL

UNKNOWN = "unknown"


def check_steps(steps: Sequence[str]) -> None:
    """Raise ConfigError for every step of `analyze.funnel` that is not an event type."""
    faults = [
        f"analyze.funnel: {step!r} is not an event type{nearest(step, EVENT_TYPES)}"
        for step in steps if step not in EVENT_TYPES
    ]
    if faults:
        raise ConfigError(faults)


def steps_reached(event_types: Column, steps: Sequence[str]) -> Column:
    """Number of leading `steps` that occur in order (int).

    Taking each step at its first chance leaves the most events for the later ones, so one pass is exact.
    """
    wanted = F.array(*(F.lit(step) for step in steps))

    def advance(reached: Column, event_type: Column) -> Column:
        # get() is null once all steps are reached, and null = x is not true
        return F.when(F.get(wanted, reached) == event_type, reached + 1).otherwise(reached)

    return F.aggregate(event_types, F.lit(0), advance)


def mean_viewed_price(event_types: Column, prices: Column) -> Column:
    """Mean price of the items viewed, to the cent; null where no viewed item has a price."""
    viewed = F.filter(prices, lambda price, i: price.isNotNull() & (F.get(event_types, i) == "view"))
    total = F.aggregate(viewed, F.lit(0.0), lambda so_far, price: so_far + price)
    return F.round(F.try_divide(total, F.size(viewed)), 2)


def observe(sessions: DataFrame, steps: Sequence[str], num_bands: int) -> tuple[list[str], list[float]]:
    """The steps that occur in some session at all, and the bounds of the price bands, in one pass.

    A shop that logs no checkout has no sessions that check out *in its data*; a funnel with that step
    would end there with 0, and a funnel that begins with views is all 0 where purchases alone are logged.
    Bounds are approximate quantiles of the sessions' mean viewed prices: lowest, cuts between the bands,
    highest; fewer where many sessions share a price, none without prices.
    """
    shares = [band / num_bands for band in range(num_bands + 1)]
    price = mean_viewed_price(F.col("event_types"), F.col("prices"))
    seen = [F.max(F.array_contains("event_types", step)).alias(f"step_{n}") for n, step in enumerate(steps)]
    row = keep_people(sessions).agg(*seen, F.percentile_approx(price, shares, ACCURACY).alias("bounds")).first()
    if row is None:
        return [], []
    return [step for n, step in enumerate(steps) if row[f"step_{n}"]], sorted(set(row["bounds"] or ()))


def price_band(price: Column, bounds: Sequence[float]) -> Column:
    """The label of the band that holds `price`, its real range such as `10.00-24.99`; `unknown` for null."""
    lows = list(bounds[:-1]) or list(bounds)
    band = F.lit(None).cast("string")
    for n, low in enumerate(lows):
        is_last = n == len(lows) - 1
        # prices are whole cents: the band ends a cent below the next one; the last one ends at the highest
        high = bounds[-1] if is_last else lows[n + 1] - 0.01
        band = F.when(price >= low, F.lit(f"{low:.2f}-{high:.2f}")).otherwise(band)
    return F.coalesce(band, F.lit(UNKNOWN))


def summarize_funnel(sessions: DataFrame, steps: Sequence[str], bounds: Sequence[float]) -> DataFrame:
    """One row per dimension value and step (FUNNEL), over the sessions of people."""
    price = mean_viewed_price(F.col("event_types"), F.col("prices"))
    dimensions = {
        "all": F.lit("all"),
        "channel": F.coalesce("channel", F.lit(UNKNOWN)),
        "device": F.coalesce("device", F.lit(UNKNOWN)),
        "price_band": price_band(price, bounds),
    }
    by_dimension = F.array(*(
        F.struct(F.lit(name).alias("dimension"), value.alias("value")) for name, value in dimensions.items()))
    reached = keep_people(sessions).select(
        steps_reached(F.col("event_types"), steps).alias("reached"), F.inline(by_dimension))
    counts = reached.groupBy("dimension", "value").agg(*(
        F.count_if(F.col("reached") >= number).alias(f"step_{number}") for number in range(1, len(steps) + 1)))
    return FUNNEL.select(_one_row_per_step(counts, steps))


def _one_row_per_step(counts: DataFrame, steps: Sequence[str]) -> DataFrame:
    """Columns step_1, step_2, … as rows, with their shares; a share of nothing is 0."""
    numbers = range(1, len(steps) + 1)
    rows = F.array(*(
        F.struct(
            F.lit(number).alias("step_number"),
            F.lit(steps[number - 1]).alias("step"),
            F.col(f"step_{number}").alias("sessions"),
            F.col(f"step_{max(number - 1, 1)}").alias("before"),
            F.col("step_1").alias("first"),
        ) for number in numbers))
    kept = F.try_divide("sessions", "before")
    return counts.select("dimension", "value", F.inline(rows)).select(
        "dimension", "value", "step_number", "step", "sessions",
        F.coalesce(F.try_divide("sessions", "first"), F.lit(0.0)).alias("share_of_first"),
        F.coalesce(1 - kept, F.lit(0.0)).alias("drop_off"),
    )
