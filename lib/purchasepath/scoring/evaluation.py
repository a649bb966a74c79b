"""The bundle and its baselines on the test split, reduced to counts where the answers are made.

The model answers in `mapInArrow`, and counts leave the task (`counting.py`). The baselines' answers are frames and are
counted by Spark, but for those of latent factors. `measures.py` turns the counts into metrics.

Legend: N targets, or places where a question is asked; T event types.
"""

from __future__ import annotations

from collections import defaultdict
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
from purchasepath.models.questions import BINARY
from purchasepath.places import as_spark_path
from purchasepath.scoring.answers import Answers, TypeCounts
from purchasepath.scoring.baselines import Keep, baseline_answers
from purchasepath.scoring.batches import MAX_PADDED_TOKENS, rechunk
from purchasepath.scoring.counting import (
    NATS_STEPS,
    Counting,
    Key,
    RankCounts,
    count_answers,
    counted_batch,
    item_counts,
)
from purchasepath.scoring.measures import PROBABILITY_STEPS, BinaryCounts
from purchasepath.scoring.shipment import Shipment, cores_per_task, on_worker, ship
from purchasepath.tables.catalog import EXAMPLES, SIDE_FEATURES

_BATCH_ROWS = 512
_MAX_SCORES = 2**24
"""Most item scores held at once (64 MiB)."""


def evaluate(
    sessions: DataFrame, bundle: Bundle, manifest: Manifest, config: Config, *, keep: Keep
) -> dict[str, Answers]:
    """Everybody's answers, ours first."""
    spark, ks = sessions.sparkSession, config.evaluate.ks
    train, test = (read_examples(spark, config.paths.dataset, manifest, split) for split in ("train", "test"))
    vocabulary = spark.read.parquet(as_spark_path(manifest.vocabulary_path(config.paths.dataset)))
    popular = popularity(sessions, vocabulary, datetime.fromisoformat(manifest.boundaries.valid_end))
    baselines = baseline_answers(
        train, test, popular, manifest=manifest, sides=read_side_features(spark, config.paths.dataset, manifest),
        config=config.evaluate, keep=keep,
    )
    return {"purchasepath": model_answers(test, bundle, ks), **baselines}


def read_examples(spark: SparkSession, directory: str, manifest: Manifest, split: str) -> DataFrame:
    """EXAMPLES of one split: the files that the manifest names."""
    files = sorted({Path(directory) / group.file for group in manifest.splits[split]})
    return spark.read.parquet(*map(as_spark_path, files)) if files else EXAMPLES.frame(spark)


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
    return as_answers(counts, bundle.model_config.predicts, ks)


def as_answers(counts: Mapping[Key, int], predicts: Sequence[str], ks: Sequence[int]) -> Answers:
    """`counts` of `count_answers`."""
    def binary(question: str, raw: int) -> BinaryCounts:
        return BinaryCounts.of({(step, label): n for (kind, k, step, label), n in counts.items()
                                if (kind, k) == (question, raw)})

    asked = [question for question in BINARY if question in predicts]
    hits, misses = counts.get(("next_type", 0, 1, 0), 0), counts.get(("next_type", 0, 0, 0), 0)
    types = TypeCounts(hits + misses, hits, counts.get(("nats", 0, 0, 0), 0) / NATS_STEPS)
    ranks, cold, shown = item_counts(counts, ks)
    asks_items = "item" in predicts
    return Answers(
        ranks if asks_items else None,
        cold if asks_items else None,
        shown,
        {question: binary(question, 0) for question in asked},
        {question: binary(question, 1) for question in asked},
        types if "next_type" in predicts else None,
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
        self.num_items, self.num_features = bundle.manifest.num_items, bundle.manifest.num_features
        self.ranks = RankCounts(bundle.manifest, ks)
        self.other_counts: dict[Key, int] = defaultdict(int)

    @torch.inference_mode()
    def add(self, rows: pa.RecordBatch) -> None:
        batch = batch_from_arrow(rows, self.num_features)
        hidden_BLD = self.model.encode(batch)
        for question in self.model.predicts:
            if question == "item":
                self._add_items(batch, hidden_BLD)
            elif question in BINARY:
                self._add_binary(question, *self.model.ask(question, batch, hidden_BLD))
            else:
                self._add_types(*self.model.ask(question, batch, hidden_BLD))

    def _add_items(self, batch: Batch, hidden_BLD: Tensor) -> None:
        has_target_BL = batch.target_BL > 0
        block = max(1, _MAX_SCORES // self.num_items)
        hidden_ND, target_N = hidden_BLD[has_target_BL], batch.target_BL[has_target_BL]
        for hidden, target in zip(hidden_ND.split(block), target_N.split(block), strict=True):
            self.ranks.add(self.model.item_scores(hidden).float(), target)

    def _add_binary(self, question: str, logit_N: Tensor, answer_N: Tensor) -> None:
        for raw, probability_N in enumerate((self.model.probability(question, logit_N), logit_N.sigmoid())):
            if not torch.isfinite(probability_N).all():
                raise ValueError(f"the model gives probabilities of {question} that are not numbers")
            step_N = torch.floor(probability_N.double() * PROBABILITY_STEPS + 0.5).long()
            pairs, counts = np.unique(torch.stack([step_N, answer_N.long()]).numpy(), axis=1, return_counts=True)
            for step, label, n in zip(*pairs.tolist(), counts.tolist(), strict=True):
                self.other_counts[question, raw, step, label] += n

    def _add_types(self, logit_NT: Tensor, answer_N: Tensor) -> None:
        hits = int((logit_NT.argmax(dim=1) == answer_N).sum())
        nats_N = functional.cross_entropy(logit_NT.double(), answer_N, reduction="none")
        self.other_counts["next_type", 0, 1, 0] += hits
        self.other_counts["next_type", 0, 0, 0] += len(answer_N) - hits
        self.other_counts["nats", 0, 0, 0] += int((nats_N * NATS_STEPS).round().sum())

    def counts(self) -> pa.RecordBatch:
        return counted_batch([*self.ranks.rows(), *((*key, n) for key, n in self.other_counts.items())])
