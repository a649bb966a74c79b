"""A path is a path, whatever its characters."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from purchasepath.analyses.paths import PATHS
from purchasepath.config import load_config
from purchasepath.storage import open_warehouse
from purchasepath.storage.paths import sql_text


@pytest.mark.parametrize("name", ["a b", "o'brien", "100%20", "a#b", "ü+&", "[x]{y}*", "a:b", "back\\slash", "${x}"])
def test_a_warehouse_lies_below_a_directory_of_any_name(spark: SparkSession, tmp_path: Path, name: str) -> None:
    config = load_config([], [f"paths.warehouse={tmp_path / name / 'wh'}", "warehouse.database=of_odd_paths"])
    warehouse = open_warehouse(spark, config)
    with warehouse.transaction("r1") as work:
        work.write(PATHS, PATHS.frame(spark, [{"path": "view", "sessions": 1}]))
    assert [row.path for row in warehouse.read(PATHS).collect()] == ["view"]
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    spark.sql("DROP DATABASE of_odd_paths CASCADE")


@pytest.mark.parametrize("text", ["it's", "back\\slash", "\\'", "${x}", "ü"])
def test_a_text_is_a_literal(spark: SparkSession, text: str) -> None:
    assert spark.sql(f"select {sql_text(text)} as x").collect()[0].x == text
