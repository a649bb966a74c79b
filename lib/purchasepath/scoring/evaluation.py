"""The bundle and its baselines on the test split, reduced to counts where the answers are made.

The model answers in `mapInArrow`, and counts leave the task (`counting.py`). The baselines' answers are frames and are
counted by Spark, but for those of latent factors. `measures.py` turns the counts into metrics.

Legend: N targets, or places where a task is asked; T event types; G buckets of visitors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyspark.sql.functions as F
import torch
from pyspark.sql import DataFrame, SparkSession
from torch import Tensor
from torch.nn import functional

from purchasepath.bundle.bundle import Bundle
from purchasepath.config import Config
from purchasepath.datasets.batch import Batch, batch_from_arrow
from purchasepath.datasets.manifest import Manifest
from purchasepath.models.baselines import popularity
from purchasepath.models.build import PurchasePathModel
from purchasepath.places import as_spark_path
from purchasepath.scoring.amounts import AmountSums
from purchasepath.scoring.answers import Answers, TypeCounts
from purchasepath.scoring.baselines import Keep, baseline_answers
from purchasepath.scoring.batches import MAX_PADDED_TOKENS, rechunk
from purchasepath.scoring.counting import (
    NATS_STEPS,
    Counting,
    Key,
    PointCounts,
    RankCounts,
    amount_counts,
    binary_counts,
    count_answers,
    counted_batch,
    item_counts,
)
from purchasepath.scoring.intervals import BUCKETS, bucket_of
from purchasepath.scoring.shipment import Shipment, cores_per_task, on_worker, ship
from purchasepath.tables.catalog import EXAMPLES, SIDE_FEATURES
from purchasepath.tables.tasks import Kind, of_kind

_BATCH_ROWS = 512
_MAX_SCORES = 2**24
"""Most item scores held at once (64 MiB)."""
_TYPE_KEYS = (("next_type", 0), ("next_type", 1), ("nats", 0))
"""kind and key of what is counted of the answers to the next event's type"""


def evaluate(
    sessions: DataFrame, bundle: Bundle, manifest: Manifest, config: Config, *, keep: Keep
) -> dict[str, Answers]:
    """Everybody's answers, ours first."""
    spark, ks = sessions.sparkSession, config.evaluate.ks
    train, test = (with_bucket(read_examples(spark, config.paths.dataset, manifest, split))
                   for split in ("train", "test"))
    vocabulary = spark.read.parquet(as_spark_path(manifest.vocabulary_path(config.paths.dataset)))
    popular = popularity(sessions, vocabulary, datetime.fromisoformat(manifest.boundaries.valid_end))
    baselines = baseline_answers(
        train, test, popular, manifest=manifest, sides=read_side_features(spark, config.paths.dataset, manifest),
        config=config.evaluate, keep=keep, tasks=bundle.model_config.tasks,
    )
    return {"purchasepath": model_answers(test, bundle, ks), **baselines}


def read_examples(spark: SparkSession, directory: str, manifest: Manifest, split: str) -> DataFrame:
    """EXAMPLES of one split: the files that the manifest names."""
    files = sorted({Path(directory) / group.file for group in manifest.splits[split]})
    return spark.read.parquet(*map(as_spark_path, files)) if files else EXAMPLES.frame(spark)


def with_bucket(examples: DataFrame) -> DataFrame:
    """`examples` with the bucket of each one's visitor (`intervals.py`)."""
    return examples.withColumn("bucket", bucket_of(F.col("visitor")))


def read_side_features(spark: SparkSession, directory: str, manifest: Manifest) -> DataFrame:
    """SIDE_FEATURES; without rows where the dataset has none."""
    path = manifest.side_path(directory)
    return spark.read.parquet(as_spark_path(path)) if manifest.side_features else SIDE_FEATURES.frame(spark)


def model_answers(test: DataFrame, bundle: Bundle, ks: Sequence[int]) -> Answers:
    """The bundle's answers at every target and every as-of point of EXAMPLES rows."""
    spark = test.sparkSession
    partitions = int(spark.conf.get("spark.sql.shuffle.partitions") or 0)
    ordered = test.repartition(partitions, "example_id").sortWithinPartitions(F.size("item"), "example_id")
    counting = _counting_function(ship(spark, bundle), tuple(ks), cores_per_task(spark))
    counts = count_answers(ordered, counting)
    return as_answers(counts, bundle.model_config.tasks, ks)


def as_answers(counts: Mapping[Key, int], tasks: Sequence[str], ks: Sequence[int]) -> Answers:
    """`counts` of `count_answers`."""
    def by_bucket(kind: str, key: int) -> np.ndarray:
        return np.array([counts.get((kind, 0, bucket, key, 0), 0) for bucket in range(BUCKETS)])

    binary = [task for task in of_kind(Kind.BINARY) if task in tasks]
    hits_G, misses_G = by_bucket("next_type", 1), by_bucket("next_type", 0)
    types = TypeCounts(hits_G + misses_G, hits_G, by_bucket("nats", 0) / NATS_STEPS)
    ranks_GK, cold_GK, shown = item_counts(counts, ks)
    asks_items = "item" in tasks
    return Answers(
        ranks_GK if asks_items else None,
        cold_GK if asks_items else None,
        shown,
        {task: binary_counts(counts, task) for task in binary},
        {task: binary_counts(counts, task, raw=1) for task in binary},
        {task: amount_counts(counts, task) for task in of_kind(Kind.AMOUNT, Kind.COUNT) if task in tasks},
        types if "next_type" in tasks else None,
    )


def _counting_function(shipment: Shipment, ks: tuple[int, ...], threads: int) -> Counting:
    def count_partition(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        counter: Counter | None = None
        for rows in rechunk(batches, _BATCH_ROWS, MAX_PADDED_TOKENS):
            counter = counter or Counter(*on_worker(shipment, threads), ks)
            counter.add(rows)
        if counter is not None:
            yield counter.counts()

    return count_partition


class Counter:
    """Counts of a model's answers over any number of batches."""

    def __init__(self, bundle: Bundle, model: PurchasePathModel, ks: Sequence[int]) -> None:
        self.model = model
        manifest = bundle.manifest
        self.num_items, self.widths = manifest.num_items, (manifest.num_features, len(manifest.label_names))
        self.ranks = RankCounts(manifest, ks)
        self.points = {task: (PointCounts(task), PointCounts(task, raw=1)) for task in of_kind(Kind.BINARY)}
        self.amounts = {task: AmountSums(task) for task in of_kind(Kind.AMOUNT, Kind.COUNT)}
        self.types_G = {key: np.zeros(BUCKETS, dtype=np.int64) for key in _TYPE_KEYS}

    @torch.inference_mode()
    def add(self, rows: pa.RecordBatch) -> None:
        batch, bucket_B = batch_from_arrow(rows, *self.widths), rows.column("bucket").to_numpy()
        hidden_BLD = self.model.encode(batch)
        for task in self.model.tasks:
            if task == "item":
                self._add_items(batch, hidden_BLD, bucket_B)
                continue
            logits, answer_N = self.model.ask(task, batch, hidden_BLD)
            bucket_N = bucket_B[self.model.asked[task].rows(batch).numpy()]
            if task in self.points:
                self._add_binary(task, logits, answer_N, bucket_N)
            elif task in self.amounts:
                predicted_N = self.model.answer(task, logits).double().numpy()
                self.amounts[task].add(predicted_N, answer_N.numpy(), bucket_N)
            else:
                self._add_types(logits, answer_N, bucket_N)

    def _add_items(self, batch: Batch, hidden_BLD: Tensor, bucket_B: np.ndarray) -> None:
        has_target_BL = batch.target_BL > 0
        block = max(1, _MAX_SCORES // self.num_items)
        row_N = has_target_BL.nonzero()[:, 0]
        hidden_ND, target_N = hidden_BLD[has_target_BL], batch.target_BL[has_target_BL]
        for hidden, target, row in zip(hidden_ND.split(block), target_N.split(block), row_N.split(block), strict=True):
            self.ranks.add(self.model.item_scores(hidden).float(), target, bucket_B[row.numpy()])

    def _add_binary(self, task: str, logit_N: Tensor, answer_N: Tensor, bucket_N: np.ndarray) -> None:
        probabilities = (self.model.answer(task, logit_N, calibrated=calibrated) for calibrated in (True, False))
        for points, probability_N in zip(self.points[task], probabilities, strict=True):
            points.add(probability_N.double().numpy(), answer_N.numpy(), bucket_N)

    def _add_types(self, logit_NT: Tensor, answer_N: Tensor, bucket_N: np.ndarray) -> None:
        hit_N = (self.model.answer("next_type", logit_NT) == answer_N).long()
        nats_N = functional.cross_entropy(logit_NT.double(), answer_N, reduction="none")
        counted = (1 - hit_N, hit_N, (nats_N * NATS_STEPS).round().long())
        for key, n_N in zip(_TYPE_KEYS, counted, strict=True):
            np.add.at(self.types_G[key], bucket_N, n_N.numpy())

    def counts(self) -> pa.RecordBatch:
        points = (row for both in self.points.values() for counts in both for row in counts.rows())
        types = ((kind, 0, int(bucket), key, 0, int(n_G[bucket]))
                 for (kind, key), n_G in self.types_G.items() for bucket in n_G.nonzero()[0])
        amounts = (row for sums in self.amounts.values() for row in sums.rows())
        return counted_batch([*self.ranks.rows(), *points, *amounts, *types])
