"""Row rules: all reasons of a row, in order, each rule once."""

from __future__ import annotations

import pyspark.sql.functions as F
from pyspark.sql import SparkSession

from purchasepath.tables.quality import Rule, broken_rules, first_broken


def test_row_carries_every_reason_in_the_order_of_the_rules(spark: SparkSession) -> None:
    rules = [
        Rule("no price", F.col("price").isNull()),
        Rule("free", F.col("price") == 0),
        Rule("no user", F.col("user") == ""),
    ]
    frame = spark.createDataFrame([(1, 3.5, "u"), (2, None, ""), (3, 0.0, "")], "id int, price double, user string")
    found = {row["id"]: row["reasons"] for row in frame.select("id", broken_rules(rules).alias("reasons")).collect()}
    assert found == {1: [], 2: ["no price", "no user"], 3: ["free", "no user"]}  # `null == 0` breaks nothing


def test_later_stage_is_not_asked_about_a_row_that_broke_an_earlier_one(spark: SparkSession) -> None:
    unreadable, wrong = (
        broken_rules([Rule("unreadable", F.col("x") < 0)]),
        broken_rules([Rule("odd", F.col("x") % 2 != 0)]),
    )
    frame = spark.createDataFrame([(-1,), (1,), (2,)], "x int")
    found = [row[0] for row in frame.orderBy("x").select(first_broken(unreadable, wrong)).collect()]
    assert found == [["unreadable"], ["odd"], []]


def test_no_rules_reject_nothing(spark: SparkSession) -> None:
    frame = spark.range(1).select(broken_rules([]).alias("reasons"))
    assert frame.schema["reasons"].dataType.simpleString() == "array<string>"
    assert frame.collect()[0]["reasons"] == []
