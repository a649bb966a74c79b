"""USER_FEATURES, ITEM_FEATURES and SESSION_FEATURES from events and their declarations."""

from __future__ import annotations

from datetime import datetime

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame

from purchasepath.features.aggregations import add_derived, aggregate, input_columns
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


def summarize_items(events: DataFrame, times: list[datetime]) -> DataFrame:
    """ITEM_FEATURES at `times` from `known.know_events`. An item is there from its first known event on."""
    of_items = events.where("item_id IS NOT NULL")
    reach_us = F.col("event_us") + LONGEST_WINDOW_DAYS * DAY_US
    expanded = _at_times(of_items, times, reach_us, ("item_id",), ITEM_FEATURES_DECLARED, {"user": "item"}, "category")
    category = F.max(F.when(F.col("category").isNotNull(), F.struct("event_us", "event_id", "category")))["category"]
    found = _aggregate(expanded, ("item_id", "as_of_us"), ITEM_FEATURES_DECLARED, category.alias("category"))
    known = of_items.groupBy("item_id").agg(F.min("known_us").alias("from_us"))
    rows = known.select("item_id", _explode_times(times, F.col("from_us"), F.lit(_FOREVER_US)))
    return _finish(rows.join(found, on=["item_id", "as_of_us"], how="left"), ITEM_FEATURES_DECLARED).transform(
        ITEM_FEATURES.select)


def summarize_users(events: DataFrame, items: DataFrame, times: list[datetime]) -> DataFrame:
    """USER_FEATURES at `times` from `known.know_events` and ITEM_FEATURES. A user is there from the first known event on.

    The price position of a view is that of its item at the last as-of time up to the view, so it is known at the view.
    """
    first = F.col("known_us") == F.col("user_known_us")
    reach_us = F.when(first, _FOREVER_US).otherwise(F.col("event_us") + LONGEST_WINDOW_DAYS * DAY_US)
    expanded = _at_times(add_price_position(events, items, times), times, reach_us, ("user_id",),
                         USER_FEATURES_DECLARED, {"item": "item", "category": "category"})
    found = _aggregate(expanded, ("user_id", "as_of_us"), USER_FEATURES_DECLARED)
    return _finish(found, USER_FEATURES_DECLARED).transform(USER_FEATURES.select)


def summarize_sessions(sessions: DataFrame) -> DataFrame:
    """SESSION_FEATURES from SESSIONS."""
    keys = ("session_id", "user_id", "start_us")
    events = explode_events(sessions, "session_id", "is_bot")
    inputs = events.select(*keys, "event_us", "event_id", *_named(input_columns(SESSION_FEATURES_DECLARED, SESSION_INPUTS)))
    found = _aggregate(inputs, keys, SESSION_FEATURES_DECLARED)
    started_at = F.timestamp_micros("start_us")
    return SESSION_FEATURES.select(
        add_derived(found, SESSION_FEATURES_DECLARED)
        .withColumns({"started_at": started_at, "session_date": F.to_date(started_at)}))


def add_price_position(events: DataFrame, items: DataFrame, times: list[datetime]) -> DataFrame:
    """`events` with the `price_position` of their item at the last as-of time up to the event; null before the first."""
    position = F.col("price_position_30d").alias("price_position")
    of_items = items.select(F.col("item_id"), F.unix_micros("as_of").alias("as_of_us"), position)
    upto = as_of_us(times, last_position(times, F.col("event_us")))
    return events.withColumn("as_of_us", upto).join(
        of_items, on=["item_id", "as_of_us"], how="left").drop("as_of_us")


def _at_times(events: DataFrame, times: list[datetime], reach_us: Column, key: tuple[str, ...],
              features: tuple[Feature, ...], counted: dict[str, str], *keep: str) -> DataFrame:
    """One row per event and as-of time from its `known_us` to `reach_us`, with `age_us` and the features' inputs.

    `counted`: input of `count_distinct` -> whose `<…>_superseded_us` says until when an event is its value's last.
    """
    inputs = events.select(
        *key, *keep, "event_us", "event_id", *(f"{by}_superseded_us" for by in counted.values()),
        *_named(input_columns(features, EVENT_INPUTS)),
        _explode_times(times, F.col("known_us"), reach_us),
    )
    last = {f"is_last_{name}": F.coalesce(F.col("as_of_us") < F.col(f"{by}_superseded_us"), F.lit(True))
            for name, by in counted.items()}
    return inputs.withColumns({"age_us": F.col("as_of_us") - F.col("event_us"), **last})


def _explode_times(times: list[datetime], from_us: Column, until_us: Column) -> Column:
    """One row per as-of time in [from_us, until_us]."""
    reached = F.transform(positions_from(times, from_us, until_us), lambda position: as_of_us(times, position))
    return F.explode(reached).alias("as_of_us")


def _aggregate(frame: DataFrame, key: tuple[str, ...], features: tuple[Feature, ...], *more: Column) -> DataFrame:
    """One row per key with all features that are read from events: a single pass for all windows."""
    return frame.groupBy(*key).agg(*more, *(aggregate(feature) for feature in features if not feature.derived))


def _finish(frame: DataFrame, features: tuple[Feature, ...]) -> DataFrame:
    """`frame` with as_of and as_of_date, derived features, and `missing` where an entity had no event in the window."""
    as_of = F.timestamp_micros("as_of_us")
    missing = {f.name: float(f.missing) for f in features if not f.derived}
    return add_derived(
        frame.fillna(missing).withColumns({"as_of": as_of, "as_of_date": F.to_date(as_of)}), features)


def _named(columns: dict[str, Column]) -> list[Column]:
    return [column.alias(name) for name, column in columns.items()]
