"""Means and deviations of the training span."""

from __future__ import annotations

from math import log1p

import numpy as np
import pytest
from pyspark.sql import SparkSession

from purchasepath.datasets.manifest import Statistics
from purchasepath.datasets.statistics import FEATURE_LIMIT, fit_statistics, standard_features, standard_price

NAMES = ("visits", "revenue", "constant")


def test_statistics_are_those_of_numpy_and_the_same_in_any_order(spark: SparkSession) -> None:
    numbers = np.random.default_rng(1)
    prices = [None, *[float(p) for p in numbers.gamma(2, 30, 50)]]
    rows = [(float(v), float(r), 0.1) for v, r in zip(numbers.poisson(2, 40), numbers.gamma(1, 4000, 40), strict=True)]
    events = spark.createDataFrame([(p,) for p in prices], "price double")
    features = spark.createDataFrame(rows, ", ".join(f"{name} double" for name in NAMES))

    fitted = fit_statistics(events, features, NAMES)
    logs = [log1p(p) for p in prices if p is not None]
    assert (fitted.price_mean, fitted.price_std) == pytest.approx((np.mean(logs), np.std(logs)), abs=1e-5)
    assert fitted.feature_mean == pytest.approx(np.mean(rows, axis=0), abs=1e-5)
    assert fitted.feature_std == pytest.approx([*np.std(rows, axis=0)[:2], 1.0], abs=1e-5)

    turned = spark.createDataFrame(rows[::-1], features.schema).repartition(7)
    assert fit_statistics(events.repartition(5), turned, NAMES) == fitted


def test_without_a_price_the_mean_is_0_and_the_deviation_1(spark: SparkSession) -> None:
    events = spark.createDataFrame([(None,)], "price double")
    assert fit_statistics(events, events, ()) == Statistics(0.0, 1.0, (), ())


def test_values_are_standardised_limited_and_never_null(spark: SparkSession) -> None:
    statistics = Statistics(1.0, 2.0, (5.0,), (0.5,))
    frame = spark.createDataFrame([(None, 6.0), (0.0, 4.75), (-3.0, 1e9)], "price double, visits double")
    rows = frame.select(
        standard_price(frame.price, statistics).alias("price"),
        standard_features(("visits",), statistics).alias("features"),
    ).collect()
    assert [row["price"] for row in rows] == [0.0, -0.5, -0.5]
    assert [row["features"] for row in rows] == [[2.0], [-0.5], [FEATURE_LIMIT]]
