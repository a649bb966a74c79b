"""SESSIONS back to single events, each with the time from which it is known and from which it is superseded."""

from __future__ import annotations

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame, Window

from purchasepath.config import Sessions
from purchasepath.features.as_of import known_from_us

_ARRAYS = {  # array of SESSIONS -> column of an event
    "event_ids": "event_id", "event_types": "event_type", "item_ids": "item_id", "categories": "category",
    "prices": "price", "quantities": "quantity", "promotions": "promotion", "channels": "channel",
    "offsets_us": "offset_us", "arrival_lags_us": "arrival_lag_us",
}
_EVENT_COLUMNS = tuple(column for column in _ARRAYS.values() if not column.endswith("_us"))


def explode_events(sessions: DataFrame, *keep: str) -> DataFrame:
    """One row per event: user_id, event_us, arrived_us, its own columns, the session columns in `keep`, and

    `start_us` and `position` in the session; `first_of_item`, `first_of_category`: no earlier event of the
    session has the same one (null where there is none).
    """
    exploded = sessions.select(
        "user_id", *keep, F.unix_micros("started_at").alias("start_us"), "item_ids", "categories",
        F.posexplode(F.arrays_zip(*_ARRAYS)).alias("position", "event"))
    event_us = F.col("start_us") + F.col("event.offsets_us")
    number = F.col("position") + 1
    return exploded.select(
        "user_id", *keep, "start_us", "position", event_us.alias("event_us"),
        (event_us + F.col("event.arrival_lags_us")).alias("arrived_us"),
        (F.array_position("item_ids", F.col("event.item_ids")) == number).alias("first_of_item"),
        (F.array_position("categories", F.col("event.categories")) == number).alias("first_of_category"),
        *(F.col(f"event.{array}").alias(column) for array, column in _ARRAYS.items() if column in _EVENT_COLUMNS),
    )


def know_events(sessions: DataFrame, config: Sessions) -> DataFrame:
    """One row per event, in one shuffle by user, with nothing of its session and

    - `known_us`: first as-of time (microseconds) at which the event is known;
    - `user_known_us`: first time at which any event of its user is known;
    - `item_superseded_us`, `category_superseded_us`: first time at which a later event of the user with the same
      item (category) is known; null for never. At time t exactly one event per user and item is known and not yet
      superseded: the last one. Counting those counts different items, exactly, without keeping sets;
    - `burst`: 1 where this event made its user's events in one slot of `bot_window_seconds` so many that it
      is a bot's, else 0. Events of a slot are counted as they became known.
    """
    known_us = known_from_us(F.col("event_us"), F.col("arrived_us")).alias("known_us")
    events = explode_events(sessions).select("user_id", "event_us", known_us, *_EVENT_COLUMNS)
    slot = F.floor(F.col("event_us") / round(config.bot_window_seconds * 1_000_000))
    arrivals = Window.partitionBy("user_id", slot).orderBy("known_us", "event_us", "event_id")
    # the order changes nothing about a minimum over all rows, but it lets Spark reuse the sort of the next window
    everything = Window.partitionBy("user_id").orderBy("item_id", "event_us", "event_id").rowsBetween(
        Window.unboundedPreceding, Window.unboundedFollowing)
    return (
        events.repartition("user_id")
        .withColumn("user_known_us", F.min("known_us").over(everything))
        .withColumn("item_superseded_us", _superseded("item_id"))
        .withColumn("category_superseded_us", _superseded("category"))
        .withColumn("burst", (F.row_number().over(arrivals) == config.bot_events_per_window).cast("double"))
    )


def _superseded(by: str) -> Column:
    later = Window.partitionBy("user_id", by).orderBy("event_us", "event_id").rowsBetween(1, Window.unboundedFollowing)
    return F.min("known_us").over(later)
