"""Which channels earn the purchases: journeys over a visitor's sessions, and four ways to share the credit.

A journey is a visitor's sessions up to and including one with a purchase; the sessions after the last
purchase are a journey that did not convert. Its touches are the channels of its sessions, in order:

    ad, email, search (buys), direct    ->   [ad, email, search] converted, [direct] did not

First, last and linear touch look at converting journeys only. The removal effect (see `removal_effects`) also
looks at those that did not convert.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import pyarrow as pa
import pyspark.sql.functions as F
from pyspark.sql import DataFrame, Window

from purchasepath.analyses.analysis import Analysis, Findings, Inputs
from purchasepath.analyses.removal_effects import removal_effects
from purchasepath.analyses.walks import UNKNOWN, keep_people
from purchasepath.report import figures
from purchasepath.report.panels import Content, Panel, Query, Row
from purchasepath.report.wording import percent
from purchasepath.tables.catalog import SESSIONS
from purchasepath.tables.types import Column as C
from purchasepath.tables.types import Table

OTHER = "other"
# channels are the shop's own words: the states around them must not be mistaken for one
START, PURCHASE, LEAVE = "(start)", "(purchase)", "(leave)"
MOST_CHANNELS = 50
"""Rarer channels than these share the name `other`: the chain of all of them is solved on one machine."""

CHANNELS = Table(
    "channels",
    "channel",
    "analyze",
    (
        C("channel", "string", "channel of sessions; unknown where the events do not say, other for rare ones"),
        C("journeys", "bigint", "journeys that touch it; a journey is a visitor's sessions up to and including one "
                                "with a purchase, and once more those after the last purchase"),
        C("first_touch", "double", "conversions of journeys that began with it"),
        C("last_touch", "double", "conversions in a session that came by it"),
        C("linear_touch", "double", "conversions shared equally among the sessions of their journey"),
        C("removal_effect", "double", "share of conversions lost if every journey ended at it"),
        C("markov", "double", "conversions shared in proportion to the removal effects"),
    ),
    key=("channel",),
)


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


def _run(inputs: Inputs) -> Findings:
    journeys = inputs.keep(summarize_journeys(inputs.read(SESSIONS)), "journeys")
    return Findings({CHANNELS: summarize_channels(journeys)})


QUERY = Query((CHANNELS,), """
SELECT channel, journeys, first_touch, last_touch, linear_touch, markov, removal_effect,
       sum(first_touch) OVER () AS all_conversions
FROM channels
ORDER BY markov DESC, channel
LIMIT 10
""")


def _draw(rows: Sequence[Row]) -> Content:
    if {row["channel"] for row in rows} == {"unknown"}:
        return Content("The events do not say the channel, so there is nothing to compare.")
    best = rows[0]
    conversions = best["all_conversions"]
    if not conversions:
        return Content("No journey has led to a purchase yet.")
    return Content(
        f"Without {best['channel']}, {percent(best['removal_effect'])} of the journeys that end with a purchase would "
        f"be lost; it begins {percent(best['first_touch'] / conversions)} of them and is the last visit of "
        f"{percent(best['last_touch'] / conversions)}.",
        _figure(rows),
        hint="A journey is a visitor's sessions up to one with a purchase. First, last and linear touch share the "
             "purchases among the channels of their journeys by rule; the removal effect also weighs the journeys "
             "that did not end with a purchase.")


def _figure(rows: Sequence[Row]) -> figures.Figure:
    """Conversions per channel, one bar per way of sharing the credit."""
    rules = {"markov": "removal effect", "first_touch": "first touch", "last_touch": "last touch",
             "linear_touch": "linear"}
    traces = [
        figures.trace("bar", x=[escape(row["channel"], quote=False) for row in rows], y=[row[rule] for row in rows],
                      name=label, marker_color=f"var(--{shade})",
                      hovertemplate=f"%{{x}}<br>{label}: %{{y:,.1f}}<extra></extra>")
        for (rule, label), shade in zip(rules.items(), figures.SERIES, strict=False)]
    return figures.figure(traces, 340, barmode="group", bargap=0.3, xaxis=figures.CATEGORIES,
                          yaxis={"title": {"text": "purchases credited"}, "rangemode": "tozero"})


ANALYSIS = Analysis("channels", (
    Panel("channels", "Which channels earn the purchases", QUERY, _draw),), (CHANNELS,), _run)
