"""Baselines that have nothing to learn from."""

from __future__ import annotations

import pyspark.sql.functions as F
import pytest
from pyspark.sql import SparkSession

from purchasepath.datasets.manifest import Asked
from purchasepath.scoring.baselines import RegressionBaselines
from purchasepath.tables.catalog import EXAMPLES
from purchasepath.tables.tasks import TASK
from tests.tiny_bundle import labels_of, tiny_manifest


@pytest.mark.parametrize(("bought", "points"), [([0, 0], 0), ([1, 1], 0), ([0, 1], 2)])
def test_a_regression_answers_only_where_train_has_two_answers(
    spark: SparkSession, bought: list[int], points: int
) -> None:
    train, test = (EXAMPLES.frame(spark, [{
        "example_id": 1, "item": [3, 4], "point": [0, 1], "idle": [1.0, 2.0], "features": [0.5, -0.5],
        "labels": [label for answer in answers for label in labels_of(purchase=answer, value=9.0 * answer)],
    }]).withColumn("bucket", F.lit(7)) for answers in (bought, [0, 1]))
    asked = {task: Asked(2, yes) for task, yes in (("purchase", sum(bought)), ("value", sum(bought)), ("orders", 0))}
    regressions = RegressionBaselines(train, test, tiny_manifest(feature_names=("f",), asked={"train": asked}))
    found = regressions.logistic(("item", "purchase")).binary
    assert list(found) == ["purchase"]
    assert found["purchase"].points == points
    assert (found["purchase"].negatives_GC + found["purchase"].positives_GC).sum(axis=1)[7] == points
    amounts = regressions.linear(tuple(TASK)).amounts
    some = 2 if any(bought) else 0  # a sum that everybody spends may be learned
    assert {task: counts.points for task, counts in amounts.items()} == {"value": some, "orders": 0}
    assert amounts["value"].points_GC[7].sum() == some
