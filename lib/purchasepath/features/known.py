"""SESSIONS back to single events, each with the time from which it is known."""

from __future__ import annotations

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame

from purchasepath.features.as_of import next_boundary_us, tile_start_us
from purchasepath.times import known_from_us

_ARRAYS = {  # array of SESSIONS -> column of an event
    "event_types": "event_type", "item_ids": "item_id", "categories": "category", "prices": "price",
    "quantities": "quantity", "promotions": "promotion", "channels": "channel",
}


def explode_events(sessions: DataFrame, *keep: str) -> DataFrame:
    """One row per event: user_id, event_us, arrived_us, its own columns, the session's columns in `keep`, and

    `start_us` of the session, the event's `position` in it and whether it `opens_order`: a purchase that does not
    follow another one of the same instant, as the lines of one order do. Arrays that nobody reads are not read from
    the files (zipped into structs they all would be).
    """
    start_us, at = F.unix_micros("started_at"), F.col("position")
    exploded = sessions.select(
        "user_id", start_us.alias("start_us"), *dict.fromkeys((*keep, "arrival_lags_us", "offsets_us", *_ARRAYS)),
        F.posexplode("offsets_us").alias("position", "offset_us"))
    event_us = F.col("start_us") + F.col("offset_us")
    of_the_same = (F.get("event_types", at - 1) == "purchase") & (F.get("offsets_us", at - 1) == F.col("offset_us"))
    opens_order = (F.get("event_types", at) == "purchase") & ~F.coalesce(of_the_same, F.lit(False))
    return exploded.select(
        "user_id", *keep, "start_us", "position", event_us.alias("event_us"),
        (event_us + F.get("arrival_lags_us", at)).alias("arrived_us"),
        *(F.get(array, at).alias(column) for array, column in _ARRAYS.items()), opens_order.alias("opens_order"),
    )


def know_events(sessions: DataFrame, tile_us: int) -> DataFrame:
    """One row per event, with nothing of its session: user_id, event_us, its columns, and

    - `known_us`: first moment at which it is known;
    - `tile_us`, `tile_end_us`: the tile it happened in; `event_date`: the day;
    - `boundary_us`: first tile boundary at which it is known.
    """
    start_us = tile_start_us(F.col("event_us"), tile_us)
    known_us = known_from_us(F.col("event_us"), F.col("arrived_us"))
    return explode_events(sessions).select(
        "user_id", "event_us", known_us.alias("known_us"), *_ARRAYS.values(), "opens_order",
        start_us.alias("tile_us"), (start_us + tile_us).alias("tile_end_us"),
        next_boundary_us(known_us, tile_us).alias("boundary_us"), _day(F.col("event_us")).alias("event_date"))


def _day(us: Column) -> Column:
    return F.to_date(F.timestamp_micros(us))
