"""Item ids: fitted on the training span, a function of the data alone.

    id 0  padding     1  the event has no item     2  an item that is not known     3 …  items by falling count

Where the model is told more of items than their history, the ids go on with items without a history: rarer than
`min_item_count`, or known from the shop's own table of items alone.
The training span's events are those that happened before train_end and had arrived by then, without visitors
that were flagged as bots in it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow.compute as pc
import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame, Window

from purchasepath.datasets.manifest import FIRST_ITEM, NO_ITEM, UNKNOWN_ITEM
from purchasepath.errors import UserError
from purchasepath.storage.parquet import ParquetReader, read_parquet
from purchasepath.tables.catalog import VOCABULARY


class EmptyVocabularyError(UserError):
    """No item is frequent enough on the training span."""

    def __init__(self, min_item_count: int) -> None:
        super().__init__(
            f"no item has dataset.min_item_count={min_item_count} events on the training span; "
            "set it lower, or give more data. A shop whose events name no items (fields.item_id of the mapping) has "
            "nothing to train on; its paths are shown without: ./spark-submit.sh analyze, then report"
        )


def fit_vocabulary(
    events: DataFrame, *, min_item_count: int, max_items: int, told: DataFrame | None = None
) -> DataFrame:
    """VOCABULARY of the given training events (column item_id): the `max_items` most frequent items.

    `told` are the items (item_id, unique) of which something is known beside their history: with them, an item
    does not need `min_item_count` events. Ties go by item_id. Numbering takes one partition, of at most
    `max_items` narrow rows.
    """
    counts = events.where(F.col("item_id").isNotNull()).groupBy("item_id").agg(F.count(F.lit(1)).alias("count"))
    frequent = counts.where(F.col("count") >= min_item_count)
    if told is not None:
        frequent = counts.join(told.select("item_id"), on="item_id", how="full").fillna({"count": 0})
    order = (F.desc("count"), F.asc("item_id"))
    kept = frequent.orderBy(*order).limit(max_items)
    number = F.row_number().over(Window.orderBy(*order))
    return VOCABULARY.select(kept.withColumn("id", (number + (FIRST_ITEM - 1)).cast("int")))


def add_item(events: DataFrame, vocabulary: DataFrame) -> DataFrame:
    """`events` with column `item`, the vocabulary id of item_id."""
    known = vocabulary.select("item_id", F.col("id").alias("item"))  # item_id is unique
    return events.join(known, on="item_id", how="left").withColumn("item", item_or_special(F.col("item")))


def item_or_special(known: Column) -> Column:
    """The id found in the vocabulary, or the special id of an event without an item or with an unknown one."""
    return F.when(F.col("item_id").isNull(), NO_ITEM).otherwise(F.coalesce(known, F.lit(UNKNOWN_ITEM)))


def count_cold(file: Path, min_item_count: int) -> int:
    """Items of the vocabulary without a history: with fewer than `min_item_count` events. They are its last ones."""
    counts = read_parquet(file, ["count"]).column(0)
    return int(pc.sum(pc.less(counts, min_item_count)).as_py() or 0)


def summarize_vocabulary(file: Path) -> tuple[int, str]:
    """(number of ids including the special ones, sha256 of items in the order of their ids)."""
    digest, items = hashlib.sha256(), 0
    for batch in ParquetReader(file).iter_batches(columns=["item_id"]):
        items += batch.num_rows
        for item in batch.column(0).to_pylist():
            digest.update(f"{len(item)}:{item},".encode())
    return FIRST_ITEM + items, digest.hexdigest()
