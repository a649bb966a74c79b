"""Side features: what is known of an item beside its history, as small whole numbers and a vector.

    EVENTS of the training span ─┐                        category  brand   price   vector
                                 ├─▶ told of each item ─▶    3        7       5     [0.1, …]   SIDE_FEATURES
    the shop's table of items ───┘                           0        0       0     [0.0, …]   nobody said anything

The shop's table comes first, then what events said last. Numbers stand for what items with a history have; a category
that none of them has says as little as none. Nothing that happened or arrived after the training span counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame, Window

from purchasepath.datasets.manifest import Statistics
from purchasepath.datasets.shop_items import COLUMNS, ShopItems
from purchasepath.datasets.statistics import log_price
from purchasepath.tables.event_order import tie_order
from purchasepath.times import from_us, known_from_us

STEPS_PER_DEVIATION = 2
PRICE_STEPS = 13
"""Prices further than three deviations from the mean share the outermost steps."""


def told_by_events(events: DataFrame, end_us: int) -> DataFrame:
    """One row per item of EVENTS known at `end_us`: item_id, category, brand, price, each as last said by then."""
    known_us = known_from_us(F.unix_micros("event_ts"), F.unix_micros("arrived_at"))
    known = events.where((F.col("event_date") <= F.lit(from_us(end_us).date())) & (known_us <= end_us))
    time = F.struct("event_ts", tie_order(), "event_id")
    return known.where(F.col("item_id").isNotNull()).groupBy("item_id").agg(*[
        F.max_by(name, F.when(F.col(name).isNotNull(), time)).alias(name) for name in ("category", "brand", "price")
    ])


def told_of_items(by_events: DataFrame, by_shop: ShopItems | None) -> DataFrame:
    """One row per item that either knows: item_id and COLUMNS, null where nobody says anything."""
    nothing = [F.lit(None).cast(kind).alias(name) for name, kind in COLUMNS.items()]
    shop = by_shop.rows if by_shop else by_events.select("item_id").limit(0)
    shop = shop.select("item_id", *[F.col(name) if name in shop.columns else null
                                    for name, null in zip(COLUMNS, nothing, strict=True)])
    joined = by_events.alias("e").join(shop.alias("s"), on="item_id", how="full")  # item_id is unique on both sides
    return joined.select("item_id", *[
        F.coalesce(f"s.{name}", f"e.{name}").alias(name) if name in by_events.columns else F.col(name)
        for name in COLUMNS
    ])


def side_features_of(
    vocabulary: DataFrame, told: DataFrame, statistics: Statistics, *, names: Sequence[str], num_known: int, width: int
) -> DataFrame:
    """Rows of SIDE_FEATURES, one per row of the vocabulary; what is not among `names` is not said of any item."""
    rows = vocabulary.select("item_id", "id").join(told, on="item_id", how="left")
    for name in ("category", "brand"):
        numbers = _numbers(rows.where(F.col("id") < num_known), name)
        rows = rows.join(F.broadcast(numbers), on=name, how="left")
    values = {
        "category": F.coalesce("category_id", F.lit(0)), "brand": F.coalesce("brand_id", F.lit(0)),
        "price": price_step(F.col("price"), statistics),
    }
    vector = unit_vector(F.col("vector"), width) if "vector" in names else F.array().cast("array<float>")
    return rows.select("id", *[(value if name in names else F.lit(0)).cast("int").alias(name)
                               for name, value in values.items()], vector.alias("vector"))


def price_step(price: Column, statistics: Statistics) -> Column:
    """1 … PRICE_STEPS by the distance of the log price from the mean of the training span; 0 where unknown."""
    deviations = (log_price(F.nanvl(price, F.lit(None).cast("double"))) - statistics.price_mean) / statistics.price_std
    step = F.floor(deviations * STEPS_PER_DEVIATION + 0.5) + (PRICE_STEPS + 1) // 2
    return F.when(deviations.isNull(), 0).otherwise(F.greatest(F.lit(1), F.least(F.lit(PRICE_STEPS), step))).cast("int")


def unit_vector(vector: Column, width: int) -> Column:
    """The vector scaled to length 1; zeros where there is none, or it is zero."""
    length = F.sqrt(F.aggregate(vector, F.lit(0.0), lambda total, x: total + x.cast("double") * x))
    scaled = F.transform(vector, lambda x: (x / length).cast("float"))
    return F.when(length > 0, scaled).otherwise(F.array_repeat(F.lit(0.0).cast("float"), width))


def _numbers(known: DataFrame, name: str) -> DataFrame:
    """One row per value that `known` items have: the value, and its number from 1 by falling count, ties by value."""
    counts = known.where(F.col(name).isNotNull()).groupBy(name).agg(F.count(F.lit(1)).alias("items"))
    number = F.row_number().over(Window.orderBy(F.desc("items"), F.asc(name)))  # one partition of few narrow rows
    return counts.select(name, number.alias(f"{name}_id"))
