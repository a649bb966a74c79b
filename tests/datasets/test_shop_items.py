"""The shop's own table of items: what is read, and what is said where it does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from purchasepath.datasets.shop_items import ShopItemsError, read_shop_items

ALL = ("category", "brand", "price", "vector")


def write(path: Path, **columns: Any) -> str:
    pq.write_table(pa.table(columns), path)
    return str(path)


def test_what_is_wanted_and_there_is_read_and_numbers_may_be_words(spark: SparkSession, tmp_path: Path) -> None:
    path = write(tmp_path / "i.parquet", item_id=[7, 8], brand=pa.array([3, None]), price=pa.array([2, 3], pa.int32()),
                 vector=pa.array([[1.0, 2.0], None], pa.list_(pa.float64())), line=["a", "b"])
    items = read_shop_items(spark, path, ALL)
    assert items.width == 2
    assert sorted(map(tuple, items.rows.collect())) == [("7", "3", 2.0, [1.0, 2.0]), ("8", None, 3.0, None)]
    assert read_shop_items(spark, path, ("price",)).rows.columns == ["item_id", "price"]


@pytest.mark.parametrize(("columns", "message"), [
    ({"item": ["a"], "price": [1.0]}, r"column item_id is missing; found item, price\n.*column vector is missing"),
    ({"item_id": ["a"], "price": ["1"], "vector": [[1]]},
     r"column price: expected a number, found string\n.*column vector: expected array<float>, found array<bigint>"),
    ({"item_id": ["a", "b"], "vector": [[1.0], [1.0, 2.0]]}, "lists of one length above 0, found 1 to 2 numbers"),
    ({"item_id": ["a", "b"], "vector": pa.array([[], None], pa.list_(pa.float32()))}, "found 0 to 0 numbers"),
    ({"item_id": ["a", "b", None], "vector": [[1.0], [float("nan")], [None]]},
     r"item_id: expected an id in every row, 1 of 3 are null\n.*2 vectors hold null, NaN or infinite ones \(item b\)"),
    ({"item_id": ["a", "b", "a"], "vector": [[1.0]] * 3}, "expected one row per item, found 3 rows of 2 items"),
])
def test_every_fault_is_told(spark: SparkSession, tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "i.parquet", **columns)
    with pytest.raises(ShopItemsError, match=message):
        read_shop_items(spark, path, ALL)


def test_a_path_without_a_table_is_named(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(ShopItemsError, match=r"nothing \(paths\.items\)"):
        read_shop_items(spark, str(tmp_path / "nothing"), ALL)
