"""Means and deviations of the training span, the same to the last bit on any number of partitions.

Floating-point sums depend on the order of addition, and that on the partitions. So values are summed as
decimals, exactly, and divided once.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame

from purchasepath.datasets.manifest import Statistics

FEATURE_LIMIT = 10.0
"""Standardised features are cut at this many deviations: revenue and counts have long tails."""


def fit_statistics(events: DataFrame, features: DataFrame, feature_names: Sequence[str]) -> Statistics:
    """Statistics of log prices in `events` and of the user features in `features` (both of the training span)."""
    (price,) = _moments(events, [log_price(F.col("price"))])
    moments = _moments(features, [F.col(name) for name in feature_names])
    return Statistics(
        price_mean=price[0], price_std=price[1],
        feature_mean=tuple(mean for mean, _ in moments), feature_std=tuple(std for _, std in moments),
    )


def log_price(price: Column) -> Column:
    """log(1 + price); null where the price is unknown (`greatest` would turn that into 0)."""
    return F.log1p(F.when(price < 0, 0.0).otherwise(price))


def standard_price(price: Column, statistics: Statistics) -> Column:
    """Standardised log(1 + price) as float; 0, the mean, where the price is unknown."""
    value = (log_price(price) - statistics.price_mean) / statistics.price_std
    return F.coalesce(value, F.lit(0.0)).cast("float")


def standard_features(feature_names: Sequence[str], statistics: Statistics) -> Column:
    """array<float> of the standardised user features, in the order of their names."""
    values = zip(feature_names, statistics.feature_mean, statistics.feature_std, strict=True)
    standard = [(F.col(name) - mean) / std for name, mean, std in values]
    limited = [F.greatest(F.lit(-FEATURE_LIMIT), F.least(F.lit(FEATURE_LIMIT), value)) for value in standard]
    return F.array(*[value.cast("float") for value in limited]) if limited else F.array().cast("array<float>")


def _moments(frame: DataFrame, values: Sequence[Column]) -> list[tuple[float, float]]:
    """(mean, population standard deviation) of each column; (0, 1) without values, deviation 1 where all are equal."""
    if not values:
        return []
    # one narrow row per value: dozens of decimal sums side by side take Spark far longer to compile than to run
    exact = frame.select(F.posexplode(F.array(*values)).alias("number", "value")).select(
        "number", F.col("value").cast("decimal(19,6)").alias("value"))
    rows = exact.groupBy("number").agg(
        F.count("value").alias("count"), F.sum("value").alias("total"),
        F.sum(F.col("value") * F.col("value")).alias("squares"),
    ).collect()  # one row per column
    found = {row["number"]: _mean_and_deviation(row["count"], row["total"], row["squares"]) for row in rows}
    return [found.get(number, (0.0, 1.0)) for number in range(len(values))]


def _mean_and_deviation(count: int, total: Decimal | None, squares: Decimal | None) -> tuple[float, float]:
    if not count or total is None or squares is None:
        return 0.0, 1.0
    mean = total / count
    variance = squares / count - mean * mean
    # below the rounding of the decimals there is no variation to scale by
    return float(mean), float(variance.sqrt()) if variance > Decimal("1e-10") else 1.0
