"""A declared table: what is derived from it, and how it refuses frames that differ."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest
from chispa import assert_df_equality
from pyspark.sql import SparkSession
from pyspark.sql import types as T

from purchasepath.errors import TableMismatchError
from purchasepath.tables.types import Column, Table

VISITS = Table(
    "visits", "visit", "nobody",
    (
        Column("visit_id", "string", "it's the key"),
        Column("at", "timestamp", "when"),
        Column("items", "array<string>", "what"),
        Column("pieces", "int", "how many", default=1),
        Column("price", "double", "how much", nullable=True),
        Column("day", "date", "day of at"),
    ),
    key=("visit_id",), partition_by=("day",), cluster_by=("at",),
)


def test_partition_columns_must_come_last() -> None:
    with pytest.raises(ValueError, match="must come last"):
        Table("t", "row", "nobody", (Column("day", "date", ""), Column("a", "int", "")), partition_by=("day",))


def test_key_and_cluster_columns_must_exist() -> None:
    with pytest.raises(ValueError, match="'b'"):
        Table("t", "row", "nobody", (Column("a", "int", ""),), key=("b",))


def test_spark_schema_has_the_declared_order_types_and_nullability() -> None:
    fields = [(f.name, f.dataType.simpleString(), f.nullable) for f in VISITS.spark_schema().fields]
    assert fields == [("visit_id", "string", False), ("at", "timestamp", False), ("items", "array<string>", False),
                      ("pieces", "int", False), ("price", "double", True), ("day", "date", False)]


def test_arrow_schema_keeps_microseconds_in_utc() -> None:
    schema = VISITS.arrow_schema()
    assert schema.names == list(VISITS.names)
    assert schema.field("at").type == pa.timestamp("us", tz="UTC")
    assert schema.field("items").type == pa.list_(pa.string())


def test_files_have_all_columns_but_those_of_partitions() -> None:
    assert VISITS.file_schema().names == ["visit_id", "at", "items", "pieces", "price"]


def test_the_schema_is_the_one_that_spark_reads_from_the_ddl(spark: SparkSession) -> None:
    assert T.StructType.fromDDL(VISITS.ddl()) == VISITS.spark_schema()


def test_comments_are_quoted(spark: SparkSession) -> None:
    assert "COMMENT 'it\\'s the key'" in VISITS.ddl(with_comments=True)
    assert "COMMENT" not in VISITS.ddl()
    assert T.StructType.fromDDL(VISITS.ddl(with_comments=True))["visit_id"].metadata == {"comment": "it's the key"}


def test_frame_fills_what_a_test_does_not_care_about(spark: SparkSession) -> None:
    row = VISITS.frame(spark, [{"visit_id": "a"}]).first()
    assert row is not None
    assert row.asDict() == {"visit_id": "a", "at": datetime(2024, 1, 1), "items": [], "pieces": 1, "price": None,
                            "day": datetime(2024, 1, 1).date()}


def test_frame_refuses_a_column_the_table_does_not_have(spark: SparkSession) -> None:
    with pytest.raises(KeyError, match="vist_id"):
        VISITS.frame(spark, [{"vist_id": "a"}])


def test_frame_refuses_nulls_where_none_are_declared(spark: SparkSession) -> None:
    with pytest.raises(ValueError, match=r"visits: nulls in \['visit_id'\], which are declared without"):
        VISITS.frame(spark, [{"visit_id": "a"}, {"visit_id": None}])


def test_select_drops_further_columns_and_restores_the_order(spark: SparkSession) -> None:
    frame = VISITS.frame(spark, [{"visit_id": "a", "at": datetime(2024, 5, 1, tzinfo=UTC)}])
    shuffled = frame.selectExpr("1 AS more", *reversed(VISITS.names))
    assert_df_equality(VISITS.select(shuffled), frame)


def test_all_differences_are_told_together(spark: SparkSession) -> None:
    frame = VISITS.frame(spark).drop("items").withColumnRenamed("day", "date").selectExpr("*", "'x' AS day")
    with pytest.raises(TableMismatchError) as error:
        VISITS.select(frame)
    assert error.value.differences == ["column items array<string> is missing",
                                       "column day: expected date, found string"]
