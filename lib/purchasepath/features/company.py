"""Inputs that an event has only in the company of others of its day: how fast requests came, where its price stands.

Both look at nothing but events of the same day that are known when the event itself counts, so a day's tiles depend
on that day alone, and nothing later or late changes them.
"""

from __future__ import annotations

import pyspark.sql.functions as F
from pyspark.sql import DataFrame, Window

from purchasepath.config import Sessions
from purchasepath.times import DAY_US


def add_price_position(events: DataFrame) -> DataFrame:
    """`price_position`: place of the price in the range of prices in its category, 0 lowest to 1 highest.

    The range is that of the category's events of the same day that were known at the end of the event's tile. An
    event that arrived later may lie outside; it gets 0 or 1. Null without price, category or range.
    """
    ranges = price_ranges(events)
    span = F.col("highest") - F.col("lowest")
    place = F.least(F.greatest((F.col("price") - F.col("lowest")) / span, F.lit(0.0)), F.lit(1.0))
    return (
        # the ranges are small: categories x tiles of the days at hand; shuffling the events instead costs far more
        events.join(F.broadcast(ranges), on=["category", "event_date", "tile_end_us"], how="left")  # unique
        .withColumn("price_position", F.when(F.col("price").isNotNull() & (span > 0), place))
        .drop("lowest", "highest")
    )


def price_ranges(events: DataFrame) -> DataFrame:
    """category, event_date, tile_end_us, lowest, highest: prices of that day's events known at the tile's end."""
    priced = events.where(F.col("category").isNotNull() & F.col("price").isNotNull()).groupBy(
        "category", "event_date", "tile_end_us", "boundary_us").agg(
        F.min("price").alias("lowest"), F.max("price").alias("highest"))
    nothing = F.lit(None).cast("double")
    # each tile end asks once, also where nothing became known at that very time
    marks = F.array(
        F.struct(F.col("boundary_us").alias("at_us"), "lowest", "highest"),
        F.struct(F.col("tile_end_us").alias("at_us"), nothing.alias("lowest"), nothing.alias("highest")))
    so_far = Window.partitionBy("category", "event_date").orderBy("at_us").rowsBetween(
        Window.unboundedPreceding, Window.currentRow)
    return (
        priced.select("category", "event_date", F.explode(marks).alias("mark"))
        .groupBy("category", "event_date", F.col("mark.at_us").alias("at_us"))
        .agg(F.min("mark.lowest").alias("lowest"), F.max("mark.highest").alias("highest"))
        .select("category", "event_date", F.col("at_us").alias("tile_end_us"),
                F.min("lowest").over(so_far).alias("lowest"), F.max("highest").over(so_far).alias("highest"))
    )


def add_burst(events: DataFrame, sessions: DataFrame, config: Sessions) -> DataFrame:
    """`burst`: 1 where this event made its user's requests in one slot so many that it is a bot's, else 0.

    Slots of `bot_window_seconds` are counted from midnight, requests of a slot as they became known. Events of one
    microsecond are one request, and get it alike if they became known together.
    """
    return events.join(
        # bursts are few: one per `bot_events_per_window` events at most
        F.broadcast(burst_times(events, sessions, config).withColumn("burst", F.lit(1.0))),
        on=["user_id", "event_us", "known_us"], how="left",  # unique among the bursts
    ).fillna(0.0, ["burst"])


def burst_times(events: DataFrame, sessions: DataFrame, config: Sessions) -> DataFrame:
    """user_id, event_us and known_us of the requests that fill a slot. `sessions` are those that hold the events."""
    busy = (  # only who has enough events on a day can fill a slot: no need to sort anybody else's
        sessions.select("user_id", "num_events",
                        F.explode(F.sequence(F.to_date("started_at"), F.to_date("ended_at"))).alias("event_date"))
        .groupBy("user_id", "event_date").agg(F.sum("num_events").alias("num_events"))
        .where(F.col("num_events") >= config.bot_events_per_window)
    )
    requests = (
        events.select("user_id", "event_date", "event_us", "known_us")
        .join(F.broadcast(busy), on=["user_id", "event_date"], how="left_semi")
        .groupBy("user_id", "event_date", "event_us").agg(F.min("known_us").alias("known_us"))
    )
    slot = F.floor(F.pmod("event_us", F.lit(DAY_US)) / round(config.bot_window_seconds * 1_000_000))
    arrivals = Window.partitionBy("user_id", "event_date", slot).orderBy("known_us", "event_us")
    return (
        requests.withColumn("number", F.row_number().over(arrivals))
        .where(F.col("number") == config.bot_events_per_window)
        .select("user_id", "event_us", "known_us")
    )
