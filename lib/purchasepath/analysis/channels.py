"""Which channels earn the purchases: journeys over a visitor's sessions, and four ways to share the credit.

A journey is a visitor's sessions up to and including one with a purchase; the sessions after the last
purchase are a journey that did not convert. Its touches are the channels of its sessions, in order:

    ad, email, search (buys), direct    ->   [ad, email, search] converted, [direct] did not

First, last and linear touch look at converting journeys only. The removal effect (see `attribution`) also
looks at those that did not convert.
"""

from __future__ import annotations

import pyarrow as pa
import pyspark.sql.functions as F
from pyspark.sql import DataFrame, Window

from purchasepath.analysis.attribution import removal_effects
from purchasepath.analysis.funnel import UNKNOWN
from purchasepath.analysis.paths import keep_people
from purchasepath.tables.catalog import CHANNELS

OTHER = "other"
# channels are the shop's own words: the states around them must not be mistaken for one
START, PURCHASE, LEAVE = "(start)", "(purchase)", "(leave)"
MOST_CHANNELS = 50
"""Rarer channels than these share the name `other`: the chain of all of them is solved on one machine."""


def keep_common_channels(sessions: DataFrame) -> DataFrame:
    """Sessions with the most common channels by name, all others as `other`, missing ones as `unknown`."""
    channel = F.coalesce("channel", F.lit(UNKNOWN))
    counts = sessions.groupBy(channel.alias("channel")).agg(F.count(F.lit(1)).alias("sessions"))
    common = [row["channel"] for row in counts.orderBy(F.desc("sessions"), "channel").limit(MOST_CHANNELS).collect()]
    return sessions.withColumn("channel", F.when(channel.isin(common), channel).otherwise(F.lit(OTHER)))


def summarize_journeys(sessions: DataFrame) -> DataFrame:
    """One row per sequence of touches: `touches`, `journeys` that had it, `conversions` among them."""
    bought = F.col("num_purchases") > 0
    visits = Window.partitionBy("user_id").orderBy("started_at", "first_tie_order", "session_id")
    earlier = visits.rowsBetween(Window.unboundedPreceding, -1)
    numbered = keep_common_channels(keep_people(sessions)).select(
        "user_id", "started_at", "first_tie_order", "session_id", "channel", bought.alias("bought"),
        F.coalesce(F.count_if(bought).over(earlier), F.lit(0)).alias("journey"))
    touch = F.struct("started_at", "first_tie_order", "session_id", "channel")
    journeys = numbered.groupBy("user_id", "journey").agg(
        F.transform(F.array_sort(F.collect_list(touch)), lambda t: t["channel"]).alias("touches"),
        F.max("bought").alias("converted"))
    return journeys.groupBy("touches").agg(
        F.count(F.lit(1)).alias("journeys"), F.count_if("converted").alias("conversions"))


def channel_transitions(journeys: DataFrame) -> dict[tuple[str, str], float]:
    """How often each channel followed another; a journey ends in a purchase or by leaving.

    Collected: at most the square of the number of channels.
    """
    touches = F.col("touches")
    pairs = F.transform(touches, lambda to, i: F.struct(
        F.coalesce(F.get(touches, i - 1), F.lit(START)).alias("from_state"), to.alias("to_state"),
        F.col("journeys").alias("times")))
    last = F.element_at(touches, -1).alias("from_state")
    ends = F.array(
        F.struct(last, F.lit(PURCHASE).alias("to_state"), F.col("conversions").alias("times")),
        F.struct(last, F.lit(LEAVE).alias("to_state"), (F.col("journeys") - F.col("conversions")).alias("times")))
    counts = (journeys.select(F.inline(F.concat(pairs, ends)))
              .groupBy("from_state", "to_state").agg(F.sum("times").alias("times")))
    return {(source, target): float(times) for source, target, times in counts.collect()}


def share_credit(journeys: DataFrame) -> DataFrame:
    """One row per channel: journeys that touch it, and its conversions by first, last and linear touch."""
    touches, conversions = F.col("touches"), F.col("conversions")
    credits = F.transform(touches, lambda channel, i: F.struct(
        channel.alias("channel"),
        # a journey that comes through a channel twice still is one journey
        F.when(F.array_position(touches, channel) == i + 1, F.col("journeys")).otherwise(0).alias("journeys"),
        F.when(i == 0, conversions).otherwise(0).alias("first_touch"),
        F.when(i == F.size(touches) - 1, conversions).otherwise(0).alias("last_touch"),
        (conversions / F.size(touches)).alias("linear_touch")))
    return journeys.select(F.inline(credits)).groupBy("channel").agg(
        F.sum("journeys").alias("journeys"),
        *(F.sum(rule).cast("double").alias(rule) for rule in ("first_touch", "last_touch", "linear_touch")))


def summarize_channels(journeys: DataFrame) -> DataFrame:
    """One row per channel (CHANNELS): the three heuristics beside the removal effect and its share."""
    effects = removal_effects(channel_transitions(journeys), start=START, goal=PURCHASE)
    total = sum(effect.removal_effect for effect in effects)
    chain = journeys.sparkSession.createDataFrame(pa.table({
        "channel": pa.array([e.state for e in effects], pa.string()),
        "removal_effect": pa.array([e.removal_effect for e in effects], pa.float64()),
        "share": pa.array([e.removal_effect / total if total else 0.0 for e in effects], pa.float64()),
    }))
    # every channel of a journey is a state of the chain, so the join loses and repeats none
    joined = share_credit(journeys).join(F.broadcast(chain), on="channel", how="inner")
    conversions = F.sum("first_touch").over(
        Window.partitionBy(F.lit(0)).rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing))
    return CHANNELS.select(joined.withColumn("markov", F.col("share") * conversions))
