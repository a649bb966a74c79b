"""The shop's own table of its items, if it has one: what it says of each, whether or not anybody has touched it.

Parquet at `paths.items`: `item_id`, unique, and any of `category`, `brand`, `price` and `vector`, a list of numbers
that a model of texts or images has made of the item, equally long for all that have one. What the table says is taken
for what was known when the training span ended: do not give prices of later.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyspark.sql.functions as F
from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql.types import ArrayType, DataType, DoubleType, FloatType, IntegralType, NumericType, StringType

from purchasepath.errors import UserError
from purchasepath.places import literal_path

COLUMNS = {"category": "string", "brand": "string", "price": "double", "vector": "array<float>"}
"""What may be told of an item, and the type it is read as."""


class ShopItemsError(UserError):
    """A table of items that cannot be used; lists every fault."""

    def __init__(self, path: str, faults: Iterable[str]) -> None:
        super().__init__(f"the table of items at {path} (paths.items) does not fit:\n"
                         + "\n".join(f"  - {fault}" for fault in faults))


@dataclass(frozen=True)
class ShopItems:
    """`rows`: one per item, with item_id and those of COLUMNS that are wanted and there; `width` of the vectors."""

    rows: DataFrame
    width: int


def read_shop_items(spark: SparkSession, path: str, wanted: Sequence[str]) -> ShopItems:
    """The table at `path`, checked: columns and types first, then ids and vectors in one pass."""
    try:
        table = spark.read.parquet(literal_path(path) if os.path.lexists(path) else path)
    except AnalysisException as failure:
        reason = str(failure).splitlines()[0]
        raise ShopItemsError(path, [f"it is not a Parquet file or directory that can be read ({reason})"]) from None
    faults = [fault for name in ("item_id", *wanted) for fault in _column_faults(table, name)]
    if faults:
        raise ShopItemsError(path, faults)
    kept = [name for name in COLUMNS if name in wanted and name in table.columns]
    rows = table.select(F.col("item_id").cast("string"), *[F.col(name).cast(COLUMNS[name]) for name in kept])
    width, faults = _look_through(rows)
    if faults:
        raise ShopItemsError(path, faults)
    return ShopItems(rows, width)


def _column_faults(table: DataFrame, name: str) -> list[str]:
    found = {field.name: field.dataType for field in table.schema.fields}
    if name not in found:
        # events say the others of most items; ids and vectors are nowhere else
        there = ", ".join(found)
        return [f"column {name} is missing; found {there}"] if name in ("item_id", "vector") else []
    expected, fits = _EXPECTED[name]
    return [] if fits(found[name]) else [f"column {name}: expected {expected}, found {found[name].simpleString()}"]


def _is_word(found: DataType) -> bool:
    return isinstance(found, (StringType, IntegralType))


def _is_vector(found: DataType) -> bool:
    return isinstance(found, ArrayType) and isinstance(found.elementType, (FloatType, DoubleType))


_EXPECTED = {
    **dict.fromkeys(("item_id", "category", "brand"), ("a string", _is_word)),
    "price": ("a number", lambda found: isinstance(found, NumericType)),
    "vector": ("array<float>", _is_vector),
}


def _look_through(rows: DataFrame) -> tuple[int, list[str]]:
    """Width of the vectors (0: there are none), and what is wrong with the rows."""
    checks = {"rows": F.count(F.lit(1)), "ids": F.count_distinct("item_id"), "nulls": F.count_if(F.isnull("item_id"))}
    if "vector" in rows.columns:
        checks |= {
            "narrowest": F.min(F.array_size("vector")), "widest": F.max(F.array_size("vector")),
            "broken": F.count_if(F.exists("vector", _is_no_number)),
            "example": F.min(F.when(F.exists("vector", _is_no_number), F.col("item_id"))),
        }
    found = rows.agg(*[value.alias(name) for name, value in checks.items()]).collect()[0].asDict()  # one row
    faults = []
    if found["nulls"]:
        faults.append(f"column item_id: expected an id in every row, {found['nulls']:,} of {found['rows']:,} are null")
    if found["rows"] - found["nulls"] > found["ids"]:
        faults.append(f"expected one row per item, found {found['rows']:,} rows of {found['ids']:,} items")
    narrowest, widest = found.get("narrowest") or 0, found.get("widest") or 0
    if narrowest != widest or (not widest and "vector" in rows.columns):
        faults.append(f"column vector: expected lists of one length above 0, found {narrowest} to {widest} numbers; "
                      "leave it null where an item has none")
    if found.get("broken"):
        faults.append(f"column vector: expected finite numbers, {found['broken']:,} vectors hold null, NaN or infinite "
                      f"ones (item {found['example']})")
    return widest, faults


def _is_no_number(value: Column) -> Column:
    return value.isNull() | F.isnan(value) | (F.abs(value) == float("inf"))
