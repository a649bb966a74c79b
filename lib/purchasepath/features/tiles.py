"""Events of some days → USER_PARTIALS, ITEM_PARTIALS and TOUCHES of those days, and nothing else's."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame

from purchasepath.config import Sessions
from purchasepath.features.aggregations import aggregate_part, input_columns, merge_part
from purchasepath.features.company import add_burst, add_price_position
from purchasepath.features.inputs import EVENT_INPUTS
from purchasepath.features.known import know_events
from purchasepath.tables.partials import (
    ITEM_PARTIALS,
    ITEM_PARTS,
    TOUCH_COLUMNS,
    TOUCHES,
    USER_PARTIALS,
    USER_PARTS,
    Part,
)
from purchasepath.tables.types import Table

_TILE = ["tile_us", "boundary_us"]


def events_of_days(sessions: DataFrame, days: Collection[date], tile_us: int) -> DataFrame:
    """`known.know_events` of the days. `sessions` must hold all sessions that have an event on them."""
    return know_events(sessions, tile_us).where(F.col("event_date").isin(*days))


def summarize_user_tiles(events: DataFrame, sessions: DataFrame, config: Sessions) -> DataFrame:
    """USER_PARTIALS of `events_of_days`; `sessions` are those that hold the events."""
    inputs = {part.input for part in USER_PARTS}
    if "price_position" in inputs:
        events = add_price_position(events)
    if "burst" in inputs:
        events = add_burst(events, sessions, config)
    tiles = _with_inputs(events, ["user_id"], USER_PARTS).groupBy("user_id", *_TILE).agg(*_aggregates(USER_PARTS))
    return _rows(USER_PARTIALS, tiles)


def summarize_item_tiles(events: DataFrame) -> DataFrame:
    """ITEM_PARTIALS of `events_of_days`.

    Two steps: first to the different combinations of the inputs whose last value is asked for (few: an item's
    prices and categories), which takes plain numbers only, then to the item.
    """
    last = [part.input for part in ITEM_PARTS if part.kind == "last"]
    plain = tuple(part for part in ITEM_PARTS if part.kind not in ("last", "last_us"))
    inputs = _with_inputs(events.where("item_id IS NOT NULL"), ["item_id"], ITEM_PARTS)
    combinations = inputs.groupBy("item_id", *_TILE, *(f"in_{name}" for name in last)).agg(
        *_aggregates(plain), F.max("event_us").alias("event_us"))
    pairs = {name: F.struct(F.col("event_us").alias(f"last_us_{name}"), F.col(f"in_{name}").alias(f"last_{name}"))
             for name in last}
    tiles = combinations.groupBy("item_id", *_TILE).agg(
        *(merge_part(part.kind, F.col(part.name)).alias(part.name) for part in plain),
        *(F.max(F.when(F.col(f"in_{name}").isNotNull(), pair)).alias(f"pair_{name}") for name, pair in pairs.items()),
    )
    return _rows(ITEM_PARTIALS, tiles.select("*", *(f"pair_{name}.*" for name in last)))


def summarize_touches(events: DataFrame) -> DataFrame:
    """TOUCHES of `events_of_days`; events that have nothing to be counted are left out."""
    values = {column: EVENT_INPUTS[name]().cast("string") for name, column in TOUCH_COLUMNS.items()}
    counted = [column for column in values if column != "user_id"]
    touched = events.select(*_TILE, *(value.alias(column) for column, value in values.items())).where(
        F.coalesce(*counted).isNotNull())
    return _rows(TOUCHES, touched.distinct())


def _with_inputs(events: DataFrame, key: list[str], parts: tuple[Part, ...]) -> DataFrame:
    inputs = input_columns(dict.fromkeys(part.input for part in parts), EVENT_INPUTS)
    return events.select(*key, *_TILE, "event_us", *(column.alias(name) for name, column in inputs.items()))


def _aggregates(parts: tuple[Part, ...]) -> list[Column]:
    return [aggregate_part(part).alias(part.name) for part in parts]


def _rows(table: Table, tiles: DataFrame) -> DataFrame:
    tile = F.timestamp_micros("tile_us")
    return table.select(tiles.withColumns({
        "tile": tile, "known_from": F.timestamp_micros("boundary_us"), "event_date": F.to_date(tile)}))
