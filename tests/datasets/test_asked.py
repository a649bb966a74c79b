"""What a split asks, and what of it can be learned."""

from __future__ import annotations

from math import nan

import pytest
from pyspark.sql import SparkSession

from purchasepath.datasets.asked import NothingToLearnError, few_answers, learnable, teaches
from purchasepath.datasets.build import SplitCounts, count_examples
from purchasepath.datasets.manifest import Asked
from purchasepath.tables.catalog import EXAMPLES
from tests.tiny_bundle import labels_of


def test_places_answers_and_unknown_items_worked_out_by_hand(spark: SparkSession) -> None:
    examples = EXAMPLES.frame(spark, [
        # the first event is context: its unknown item was counted where it is owned
        {"example_id": 1, "split": "train", "item": [2, 1, 2, 5, 6], "target": [0, 0, 0, 6, 0],
         "outcome": [0, 1, 3, 3, 2], "point": [1, 2, 4],
         "labels": [*labels_of(purchase=0), *labels_of(purchase=1, value=5.0, orders=2), *labels_of(returns=nan)]},
        {"example_id": 2, "split": "train", "item": [7], "target": [0], "outcome": [1], "point": [0],
         "labels": labels_of(purchase=0)},
        {"example_id": 3, "split": "test", "item": [3, 2], "target": [2, 0], "outcome": [0, 1]},
    ])
    points = spark.createDataFrame([("train",)] * 5, "split string")
    counts = count_examples(examples, points)
    assert counts["train"] == SplitCounts(examples=2, events=6, with_item=4, unknown=1, offered=5, asked={
        "item": Asked(1), "purchase": Asked(4, 1), "session": Asked(3, 2), "churn": Asked(4, 3), "next_type": Asked(3),
        "value": Asked(4, 1), "orders": Asked(4, 1), "returns": Asked(3, 0)})
    assert counts["valid"] == SplitCounts()
    test = counts["test"]
    assert (test.with_item, test.unknown, test.points, test.asked["item"], test.asked["next_type"]) == (
        1, 1, 0, Asked(1), Asked(0))


@pytest.mark.parametrize(("task", "asked", "expected"), [
    ("item", Asked(0), False), ("item", Asked(1), True), ("purchase", Asked(0, 0), False),
    ("purchase", Asked(9, 0), False), ("purchase", Asked(9, 9), False), ("purchase", Asked(9, 1), True),
    ("value", Asked(9, 9), True), ("orders", Asked(9, 0), False),  # amounts differ where all are above 0
])
def test_a_task_teaches_where_there_is_a_choice_or_answers_that_differ(task: str, asked: Asked, expected: bool) -> None:
    assert teaches(task, asked) == expected


def test_what_is_not_taught_is_left_out_and_told() -> None:
    train = {"item": Asked(40), "purchase": Asked(400, 0), "churn": Asked(30, 30), "session": Asked(0, 0)}
    kept, told = learnable(("item", "purchase", "session", "churn"), train)
    assert kept == ("item",)
    assert told == [
        "purchase is left out of the model: the answer is no at all of its 400 places in the training span",
        "session is left out of the model: it is never asked in the training span",
        "churn is left out of the model: the answer is yes at all of its 30 places in the training span",
    ]
    assert learnable(("item", "purchase"), {}) == (("item", "purchase"), [])  # a dataset that did not count


def test_nothing_to_learn_names_what_there_is() -> None:
    train = {"item": Asked(40), "purchase": Asked(400, 0)}
    with pytest.raises(NothingToLearnError, match=r"--set model\.tasks=\[item\]"):
        learnable(("purchase",), train)
    with pytest.raises(NothingToLearnError, match=r"dataset\.horizon_hours"):
        learnable(("purchase",), {"purchase": Asked(0, 0)})


def test_few_answers_of_a_kind_are_told() -> None:
    told = few_answers(("item", "purchase"), {
        "train": {"item": Asked(19), "purchase": Asked(400, 20)},
        "test": {"item": Asked(7_000), "purchase": Asked(400, 381), "churn": Asked(5, 0)},
    })
    assert told == [
        "few answers: item in train has 19 places; what is learned from fewer than 20 is mostly chance",
        "few answers: purchase in test has 381 yes in 400 places; what is measured on fewer than 20 is mostly chance",
    ]
