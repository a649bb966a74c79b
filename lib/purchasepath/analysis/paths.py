"""The paths that sessions walk: event types in order, up to the first purchase.

A path ends at the session's first purchase, or at its end where nothing was bought. Consecutive repeats
are one state (`view view cart` is `view > cart`), and only so many states are told apart: the middle of
a longer path is cut and marked with `…`.
"""

from __future__ import annotations

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame

from purchasepath.tables.catalog import PATHS

PURCHASE = "purchase"
CUT = "…"
SEPARATOR = " > "

# percentile_approx: the rank is off by at most rows / ACCURACY (10,000 is Spark's own default)
ACCURACY = 10_000


def keep_people(sessions: DataFrame) -> DataFrame:
    """Sessions that were not flagged as a bot's."""
    return sessions.where(~F.col("is_bot"))


def up_to_purchase(event_types: Column) -> Column:
    """The event types up to and including the first purchase; all of them where there is none."""
    bought_at = F.array_position(event_types, PURCHASE)
    return F.when(bought_at > 0, F.slice(event_types, 1, bought_at.cast("int"))).otherwise(event_types)


def collapse_repeats(states: Column) -> Column:
    """Each run of equal states as one state: [view, view, cart, view] -> [view, cart, view]."""
    return F.filter(states, lambda state, i: (i == 0) | (state != F.get(states, i - 1)))


def cut_middle(states: Column, length: int) -> Column:
    """At most `length` states; of a longer path its first and its last ones, with `…` between them."""
    head = length // 2
    tail = length - head
    cut = F.concat(F.slice(states, 1, head), F.array(F.lit(CUT)), F.slice(states, -tail, tail))
    return F.when(F.size(states) > length, cut).otherwise(states)


def summarize_paths(sessions: DataFrame, *, path_length: int, top_paths: int) -> DataFrame:
    """One row per common path (PATHS): the `top_paths` most walked and the `top_paths` most walked by buyers.

    Ties are broken by the path itself, so the same sessions give the same rows. Medians are approximate
    (`percentile_approx`): their rank is off by at most one in 10,000.
    """
    states = cut_middle(collapse_repeats(up_to_purchase(F.col("event_types"))), path_length)
    bought = F.array_contains("event_types", PURCHASE)
    walked = keep_people(sessions).select(
        F.array_join(states, SEPARATOR).alias("path"),
        F.least(F.size(states), F.lit(path_length)).alias("length"),
        bought.cast("int").alias("bought"), "revenue", "duration_s",
    )
    paths = walked.groupBy("path", "length").agg(
        F.count(F.lit(1)).alias("sessions"),
        F.sum("bought").alias("purchases"),
        F.sum("revenue").alias("revenue"),
        F.percentile_approx("duration_s", 0.5, ACCURACY).alias("median_duration_s"),
    )
    # a rank over all rows would be one task's work for every path there is: each half is a top-k instead
    common = paths.orderBy(F.desc("sessions"), "path").limit(top_paths)
    buyers = paths.where(F.col("purchases") > 0).orderBy(F.desc("purchases"), "path").limit(top_paths)
    return PATHS.select(common.unionByName(buyers).dropDuplicates(["path"]))
