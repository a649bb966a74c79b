"""How sessions move from one event to the next, until they buy or leave.

    start --> view --> cart --> purchase     (the first purchase ends the path)
                \\--> leave                  (a session without one ends by leaving)

Repeats count: two views in a row are a transition from view to view.
"""

from __future__ import annotations

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame, Window

from purchasepath.analysis.paths import ACCURACY, PURCHASE, keep_people, up_to_purchase
from purchasepath.scoring.intervals import bucket_of
from purchasepath.tables.catalog import TRANSITIONS

START = "start"
LEAVE = "leave"


def moves(event_types: Column, offsets_us: Column) -> Column:
    """array<struct<from_state, to_state, seconds>>: the moves of one session, in order.

    [view, cart] at 0 s and 5 s -> [(start, view, null), (view, cart, 5.0), (cart, leave, null)]
    """
    walk = up_to_purchase(event_types)
    bought = F.array_contains(walk, PURCHASE)
    left = F.when(bought, F.slice(walk, 1, F.size(walk) - 1)).otherwise(walk)
    sources = F.concat(F.array(F.lit(START)), left)
    targets = F.when(bought, walk).otherwise(F.concat(walk, F.array(F.lit(LEAVE))))

    def move(target: Column, i: Column) -> Column:
        # get() is null outside the array: before the first event, and after the last one
        seconds = (F.get(offsets_us, i) - F.get(offsets_us, i - 1)) / F.lit(1e6)
        return F.struct(F.get(sources, i).alias("from_state"), target.alias("to_state"), seconds.alias("seconds"))

    return F.transform(targets, move)


def summarize_transitions(sessions: DataFrame) -> DataFrame:
    """One row per pair of states that follow each other in some session of a person (TRANSITIONS).

    `median_seconds` is approximate (`percentile_approx`): its rank is off by at most one in 10,000.
    """
    steps = _moves_of_people(sessions)
    counts = steps.groupBy("from_state", "to_state").agg(
        F.count(F.lit(1)).alias("transitions"),
        F.percentile_approx("seconds", 0.5, ACCURACY).alias("median_seconds"),
    )
    whole_state = Window.partitionBy("from_state").rowsBetween(
        Window.unboundedPreceding, Window.unboundedFollowing)
    out_of_state = F.sum("transitions").over(whole_state)
    return TRANSITIONS.select(counts.withColumn("probability", F.col("transitions") / out_of_state))


def transitions_by_bucket(sessions: DataFrame) -> DataFrame:
    """bucket, from_state, to_state, transitions: the same counts by bucket of visitors (see `scoring/intervals.py`)."""
    bucket = bucket_of(F.xxhash64("user_id")).alias("bucket")
    return _moves_of_people(sessions, bucket).groupBy("bucket", "from_state", "to_state").agg(
        F.count(F.lit(1)).alias("transitions"))


def _moves_of_people(sessions: DataFrame, *beside: Column) -> DataFrame:
    return keep_people(sessions).select(*beside, F.inline(moves(F.col("event_types"), F.col("offsets_us"))))
