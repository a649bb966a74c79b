"""USER_FEATURES, ITEM_FEATURES and SESSION_FEATURES from events and their declarations."""

from __future__ import annotations

from datetime import datetime

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame

from purchasepath.features.aggregations import add_derived, aggregate, input_columns, last_values, read_window
from purchasepath.features.as_of import DAY_US, as_of_us, last_position, positions_from
from purchasepath.features.inputs import EVENT_INPUTS, SESSION_INPUTS
from purchasepath.features.known import explode_events
from purchasepath.tables.features import (
    ITEM_FEATURES,
    ITEM_FEATURES_DECLARED,
    LONGEST_WINDOW_DAYS,
    SESSION_FEATURES,
    SESSION_FEATURES_DECLARED,
    USER_FEATURES,
    USER_FEATURES_DECLARED,
    Feature,
)

_FOREVER_US = 2**62
_LONGEST_US = LONGEST_WINDOW_DAYS * DAY_US


def summarize_items(events: DataFrame, times: list[datetime]) -> DataFrame:
    """ITEM_FEATURES at `times` from `known.know_events`. An item is there from its first known event on."""
    key = ["item_id", "as_of_us"]
    of_items = events.where("item_id IS NOT NULL")
    expanded = _at_times(of_items, times, F.col("event_us") + _LONGEST_US, ["item_id", "category"],
                         ITEM_FEATURES_DECLARED, {"user": "item"})
    last = {f.name: read_window(f) for f in ITEM_FEATURES_DECLARED if f.aggregation == "last"}
    found = _aggregate(expanded, key, [f for f in ITEM_FEATURES_DECLARED if f.name not in last])
    state = last_values(expanded, key, {"last_category": F.col("category"), **last})
    known = of_items.groupBy("item_id").agg(F.min("known_us").alias("from_us"))
    rows = known.select("item_id", _explode_positions(times, F.col("from_us"), F.lit(_FOREVER_US)))
    return (
        rows.select("item_id", as_of_us(times, F.col("position")).alias("as_of_us"))
        .join(found, on=key, how="left")
        .join(state, on=key, how="left")
        .withColumnRenamed("last_category", "category")
        .transform(_finish, ITEM_FEATURES_DECLARED)
        .transform(ITEM_FEATURES.select)
    )


def summarize_users(events: DataFrame, items: DataFrame, times: list[datetime]) -> DataFrame:
    """USER_FEATURES at `times` from `known.know_events` and ITEM_FEATURES.

    A user is there from the first known event on, also when all windows are empty.
    """
    first = F.col("known_us") == F.col("user_known_us")
    reach_us = F.when(first, _FOREVER_US).otherwise(F.col("event_us") + _LONGEST_US)
    expanded = _at_times(add_price_position(events, items, times), times, reach_us, ["user_id"],
                         USER_FEATURES_DECLARED, {"item": "item", "category": "category"})
    found = _aggregate(expanded, ["user_id", "as_of_us"], USER_FEATURES_DECLARED)
    return found.transform(_finish, USER_FEATURES_DECLARED).transform(USER_FEATURES.select)


def summarize_sessions(sessions: DataFrame) -> DataFrame:
    """SESSION_FEATURES from SESSIONS."""
    key = ["session_id", "user_id", "start_us"]
    events = explode_events(sessions, "session_id", "is_bot")
    inputs = events.select(*key, "position", *_named(input_columns(SESSION_FEATURES_DECLARED, SESSION_INPUTS)),
                           F.col("first_of_item").alias("stands_for_item"),
                           F.col("first_of_category").alias("stands_for_category"))
    started_at = F.timestamp_micros("start_us")
    found = _aggregate(inputs, key, SESSION_FEATURES_DECLARED).withColumns(
        {"started_at": started_at, "session_date": F.to_date(started_at)})
    return SESSION_FEATURES.select(add_derived(found, SESSION_FEATURES_DECLARED))


def add_price_position(events: DataFrame, items: DataFrame, times: list[datetime]) -> DataFrame:
    """`events` with the `price_position` of their item at the last as-of time up to the event, so it was known then.

    Null before the first as-of time and for items unknown at it.
    """
    upto = as_of_us(times, last_position(times, F.col("event_us")))
    of_items = items.select("item_id", F.unix_micros("as_of").alias("as_of_us"),
                            F.col("price_position_30d").alias("price_position"))
    return events.withColumn("as_of_us", upto).join(of_items, on=["item_id", "as_of_us"], how="left").drop("as_of_us")


def _at_times(events: DataFrame, times: list[datetime], reach_us: Column, keep: list[str],
              features: tuple[Feature, ...], counted: dict[str, str]) -> DataFrame:
    """One row per event and as-of time from its `known_us` to `reach_us`, with `age_us` and the features' inputs.

    `counted`: input of `count_distinct` -> whose `<…>_superseded_us` says until when an event stands for its value.
    """
    inputs = events.select(
        *keep, "event_us", *(f"{by}_superseded_us" for by in counted.values()),
        *_named(input_columns(features, EVENT_INPUTS)),
        _explode_positions(times, F.col("known_us"), reach_us),
    ).withColumn("as_of_us", as_of_us(times, F.col("position")))
    stands_for = {
        f"stands_for_{name}": F.coalesce(F.col("as_of_us") < F.col(f"{by}_superseded_us"), F.lit(True))
        for name, by in counted.items()
    }
    return inputs.withColumns({"age_us": F.col("as_of_us") - F.col("event_us"), **stands_for})


def _explode_positions(times: list[datetime], from_us: Column, until_us: Column) -> Column:
    """One row per as-of time in [from_us, until_us]: its `position` in `times`."""
    return F.explode(positions_from(times, from_us, until_us)).alias("position")


def _aggregate(frame: DataFrame, key: list[str], features: list[Feature] | tuple[Feature, ...]) -> DataFrame:
    """One row per key with all features that are read from events: a single pass for all windows."""
    return frame.groupBy(*key).agg(*(aggregate(feature) for feature in features if not feature.derived))


def _finish(frame: DataFrame, features: tuple[Feature, ...]) -> DataFrame:
    """`frame` with as_of, as_of_date and derived features, and `missing` where an entity had no event in the window."""
    as_of = F.timestamp_micros("as_of_us")
    filled = {f.name: F.coalesce(f.name, F.lit(float(f.missing))) for f in features if not f.derived}
    return add_derived(frame.withColumns({**filled, "as_of": as_of, "as_of_date": F.to_date(as_of)}), features)


def _named(columns: dict[str, Column]) -> list[Column]:
    return [column.alias(name) for name, column in columns.items()]
