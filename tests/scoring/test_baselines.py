"""Baselines that have nothing to learn from."""

from __future__ import annotations

import pyspark.sql.functions as F
import pytest
from pyspark.sql import SparkSession

from purchasepath.scoring.baselines import logistic_regression
from purchasepath.tables.catalog import EXAMPLES


@pytest.mark.parametrize(("bought", "points"), [([0, 0], 0), ([1, 1], 0), ([0, 1], 2)])
def test_a_regression_answers_only_where_train_has_two_answers(
    spark: SparkSession, bought: list[int], points: int
) -> None:
    train, test = (EXAMPLES.frame(spark, [{"example_id": 1, "item": [3, 4], "point": [0, 1], "idle": [1.0, 2.0],
                                           "features": [0.5, -0.5], "bought": answers}]).withColumn("bucket", F.lit(7))
                   for answers in (bought, [0, 1]))
    found = logistic_regression(train, test, 1).binary["purchase"]
    assert found.points == points
    assert (found.negatives_GC + found.positives_GC).sum(axis=1)[7] == points
