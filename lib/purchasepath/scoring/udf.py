"""Everybody's answers and best items: the one UDF of the project.

Spark hands Arrow batches to `mapInArrow`; they are cut anew into batches of bounded rows and bounded padded
tokens, scored, and returned as Arrow. Each Python worker loads the bundle once, from a local file that all
workers of a host share through the page cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyspark.sql.functions as F
import torch
from pyspark.sql import DataFrame
from torch import Tensor

from purchasepath.bundle.bundle import Bundle
from purchasepath.config import Score
from purchasepath.datasets.batch import Inputs, inputs_from_arrow
from purchasepath.datasets.rows import INPUTS
from purchasepath.datasets.sequences import events_of
from purchasepath.features.as_of import to_us
from purchasepath.models.build import PurchasePathModel
from purchasepath.scoring.batches import MAX_PADDED_TOKENS, rechunk, with_blank_histories
from purchasepath.scoring.shipment import Shipment, cores_per_task, on_worker, ship
from purchasepath.scoring.topk import NO_ITEM, pad_lists, top_k
from purchasepath.storage.parquet import read_parquet
from purchasepath.tables.tasks import LABEL_NAMES

SCORED = (
    "user_id string NOT NULL, answers array<float> NOT NULL, num_events int NOT NULL, "
    "recommendations array<struct<rank: int, item_id: string, score: float>> NOT NULL"
)
"""Columns of a scored user: an answer to each of `scored_tasks`, and recommendations from rank 1, best first.

A bundle that was not trained on next items recommends nothing.
"""

_RECOMMENDATION = pa.struct([("rank", pa.int32()), ("item_id", pa.string()), ("score", pa.float32())])
_SCORED_ARROW = pa.schema([
    ("user_id", pa.string()), ("answers", pa.list_(pa.float32())), ("num_events", pa.int32()),
    ("recommendations", pa.list_(_RECOMMENDATION)),
])
_EXCLUDED_COLUMN = {"none": None, "seen": "seen_items", "purchased": "purchased_items"}


def scored_tasks(bundle: Bundle) -> tuple[str, ...]:
    """The bundle's tasks that are asked at an as-of time, in the order of the answers."""
    return tuple(name for name in LABEL_NAMES if name in bundle.model_config.tasks)


def score_users(examples: DataFrame, bundle: Bundle, config: Score) -> DataFrame:
    """One row (columns `SCORED`) per row of `datasets.sequences.scoring_examples`.

    Rows are spread by user and sorted by length, then user: batches hold little padding, and the same rows
    meet in the same batch in every run, so that a rerun gives the same numbers to the last bit.
    The result is lazy; materialize it before deriving two tables from it, or everything is scored twice.
    """
    spark = examples.sparkSession
    excluded = _EXCLUDED_COLUMN[config.exclude]
    columns = ["user_id", "num_events", *INPUTS, *([excluded] if excluded else [])]
    partitions = int(spark.conf.get("spark.sql.shuffle.partitions") or 0)
    ordered = (
        examples.select(*columns)
        .repartition(partitions, "user_id")
        .sortWithinPartitions(F.size("item"), "user_id")
    )
    return ordered.mapInArrow(scoring_function(ship(spark, bundle), config, cores_per_task(spark)), SCORED)


def count_users(sessions: DataFrame, as_of: datetime) -> tuple[int, int]:
    """Users with an event that is known at `as_of` (as many rows must come out of `score_users`), and their events."""
    known = events_of(sessions).where(F.col("known_us") <= to_us(as_of))
    found = known.groupBy("user_id").count().agg(F.count(F.lit(1)), F.coalesce(F.sum("count"), F.lit(0))).first()
    return (found[0], found[1]) if found else (0, 0)


def scoring_function(
    shipment: Shipment, config: Score, threads: int
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function for `mapInArrow`; carries paths and settings to the worker, never weights."""

    def score_partition(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        scorer: Scorer | None = None
        for batch in rechunk(batches, config.batch_rows, MAX_PADDED_TOKENS):
            scorer = scorer or Scorer(*on_worker(shipment, threads), config)  # not at all for an empty partition
            yield scorer.score(batch)

    return score_partition


class Scorer:
    """A bundle ready to score Arrow batches; what the UDF does, callable anywhere."""

    def __init__(self, bundle: Bundle, model: PurchasePathModel, config: Score) -> None:
        self.config = config
        self.model, self.tasks = model, scored_tasks(bundle)
        self.num_items = bundle.manifest.num_items
        self.num_features = bundle.manifest.num_features
        self.item_ids = item_ids(bundle)
        self.excluded = _EXCLUDED_COLUMN[config.exclude]

    @torch.inference_mode()
    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Columns `SCORED` for every row, in order. The recommendations follow the row's last event."""
        inputs = inputs_from_arrow(with_blank_histories(rows.select(list(INPUTS))), self.num_features)
        hidden_BLD = self.model.encode_points(inputs)
        hidden_ND = hidden_BLD[inputs.row_P, inputs.position_P]  # one as-of point per row, so N = B = P
        return pa.RecordBatch.from_arrays(
            [
                rows.column("user_id"), self._answers(inputs, hidden_BLD), rows.column("num_events"),
                self._best_items(rows, hidden_ND),
            ],
            schema=_SCORED_ARROW,
        )

    def _answers(self, inputs: Inputs, hidden_BLD: Tensor) -> pa.ListArray:
        answers = [self.model.predict(task, inputs, hidden_BLD).float().numpy() for task in self.tasks]
        answer_NT = np.stack(answers, axis=1) if answers else np.zeros((inputs.points, 0), np.float32)
        offsets = np.arange(len(answer_NT) + 1, dtype=np.int32) * len(self.tasks)
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(answer_NT.ravel()))

    def _best_items(self, rows: pa.RecordBatch, hidden_ND: Tensor) -> pa.ListArray:
        if "item" not in self.model.tasks:
            return pa.array([[]] * len(rows), _SCORED_ARROW.field("recommendations").type)
        return self._recommendations(*top_k(
            lambda start, stop: self.model.item_scores(hidden_ND, start, stop), self.num_items, self.config.top_k,
            excluded_NE=self._excluded(rows), item_block=self.config.item_block,
        ))

    def _excluded(self, rows: pa.RecordBatch) -> Tensor | None:
        if self.excluded is None:
            return None
        lists = rows.column(self.excluded)
        return pad_lists(lists.offsets.to_numpy(), lists.values.to_numpy())

    def _recommendations(self, scores_NK: Tensor, items_NK: Tensor) -> pa.ListArray:
        filled_NK = (items_NK != NO_ITEM).numpy()
        rank_NK = np.broadcast_to(np.arange(1, filled_NK.shape[1] + 1, dtype=np.int32), filled_NK.shape)
        shown = pa.StructArray.from_arrays(
            [
                pa.array(rank_NK[filled_NK]),
                self.item_ids.take(pa.array(items_NK.numpy()[filled_NK])),
                pa.array(scores_NK.numpy()[filled_NK]),
            ],
            fields=list(_RECOMMENDATION),
        )
        offsets = np.concatenate([[0], filled_NK.sum(axis=1).cumsum()]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), shown)


def item_ids(bundle: Bundle) -> pa.StringArray:
    """The shop's item id at each vocabulary id; null for the special ids."""
    vocabulary = read_parquet(bundle.vocabulary_path, ["item_id", "id"])
    place = np.full(bundle.manifest.num_items, -1, dtype=np.int64)
    place[vocabulary["id"].to_numpy()] = np.arange(len(vocabulary))
    return vocabulary["item_id"].combine_chunks().take(pa.array(place, mask=place < 0))
