"""The bundle and its baselines on the test split, reduced to counts where the answers are made.

The model answers in `mapInArrow`; what leaves a task is how often each rank and each (probability, label)
occurred, and which items were shown. The baselines' answers are frames and are counted by Spark.
`measures.py` turns the counts into metrics.

Legend: N targets, or places where a question is asked; I items (special ids included), K items shown, C cut-offs,
T event types.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

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
from purchasepath.datasets.manifest import FIRST_ITEM, Manifest
from purchasepath.models.baselines import popularity
from purchasepath.models.build import PurchasePathModel
from purchasepath.models.questions import BINARY
from purchasepath.scoring.answers import Answers, TypeCounts
from purchasepath.scoring.baselines import Keep, baseline_answers
from purchasepath.scoring.batches import MAX_PADDED_TOKENS, rechunk
from purchasepath.scoring.measures import PROBABILITY_STEPS, BinaryCounts
from purchasepath.scoring.shipment import Shipment, cores_per_task, on_worker, ship
from purchasepath.scoring.topk import top_k
from purchasepath.tables.catalog import EXAMPLES
from purchasepath.training.metrics import target_rank

_COUNTED = "kind string NOT NULL, k int NOT NULL, key bigint NOT NULL, label int NOT NULL, n bigint NOT NULL"
_COUNTED_ARROW = pa.schema([
    ("kind", pa.string()), ("k", pa.int32()), ("key", pa.int64()), ("label", pa.int32()), ("n", pa.int64()),
])
_Key = tuple[str, int, int, int]
"""kind, k, key, label of what is counted"""

NATS_STEPS = 1_000_000
"""Logarithms are added up rounded to 1 / NATS_STEPS: sums are the same in any order."""
_BATCH_ROWS = 512
_MAX_SCORES = 2**24
"""Most item scores held at once (64 MiB)."""


def evaluate(
    sessions: DataFrame, bundle: Bundle, manifest: Manifest, config: Config, *, keep: Keep
) -> dict[str, Answers]:
    """Everybody's answers, ours first."""
    spark, ks = sessions.sparkSession, config.evaluate.ks
    train, test = (read_examples(spark, config.paths.dataset, manifest, split) for split in ("train", "test"))
    vocabulary = spark.read.parquet(str(manifest.vocabulary_path(config.paths.dataset)))
    popular = popularity(sessions, vocabulary, datetime.fromisoformat(manifest.boundaries.valid_end))
    baselines = baseline_answers(
        train, test, popular, num_features=manifest.num_features, config=config.evaluate, keep=keep
    )
    return {"purchasepath": model_answers(test, bundle, ks), **baselines}


def read_examples(spark: SparkSession, directory: str, manifest: Manifest, split: str) -> DataFrame:
    """EXAMPLES of one split: the files that the manifest names."""
    files = sorted({str(Path(directory) / group.file) for group in manifest.splits[split]})
    return spark.read.parquet(*files) if files else EXAMPLES.frame(spark)


def model_answers(test: DataFrame, bundle: Bundle, ks: Sequence[int]) -> Answers:
    """The bundle's answers at every target and every as-of point of EXAMPLES rows."""
    spark = test.sparkSession
    partitions = int(spark.conf.get("spark.sql.shuffle.partitions") or 0)
    ordered = test.repartition(partitions, "example_id").sortWithinPartitions(F.size("item"), "example_id")
    counting = _counting_function(ship(spark, bundle), tuple(ks), cores_per_task(spark))
    counted = ordered.mapInArrow(counting, _COUNTED)
    # an item shown by several tasks is one item: sum first, then count
    items = F.col("kind") == "shown"
    summed = counted.groupBy("kind", "k", "key", "label").agg(F.sum("n").alias("n"))
    found = summed.groupBy("kind", "k", F.when(~items, F.col("key")).alias("key"), "label").agg(
        F.when(items, F.count(F.lit(1))).otherwise(F.sum("n")).alias("n")
    ).collect()  # at most max(ks) + 1 ranks, len(ks) coverages and 4 x PROBABILITY_STEPS counts a question
    counts = {(r["kind"], r["k"], r["key"] or 0, r["label"]): r["n"] for r in found}
    return as_answers(counts, bundle.model_config.predicts, ks)


def as_answers(counts: Mapping[_Key, int], predicts: Sequence[str], ks: Sequence[int]) -> Answers:
    """`counts` as `Counter.counts` gives them, added up; items of `shown` are numbers of items."""
    def binary(question: str, raw: int) -> BinaryCounts:
        return BinaryCounts.of({(step, label): n for (kind, k, step, label), n in counts.items()
                                if (kind, k) == (question, raw)})

    asked = [question for question in BINARY if question in predicts]
    hits, misses = counts.get(("next_type", 0, 1, 0), 0), counts.get(("next_type", 0, 0, 0), 0)
    types = TypeCounts(hits + misses, hits, counts.get(("nats", 0, 0, 0), 0) / NATS_STEPS)
    return Answers(
        {rank: n for (kind, _, rank, _), n in counts.items() if kind == "rank"} if "item" in predicts else None,
        dict.fromkeys(ks, 0) | {k: n for (kind, k, _, _), n in counts.items() if kind == "shown"},
        {question: binary(question, 0) for question in asked},
        {question: binary(question, 1) for question in asked},
        types if "next_type" in predicts else None,
    )


def _counting_function(
    shipment: Shipment, ks: tuple[int, ...], threads: int
) -> Callable[[Iterable[pa.RecordBatch]], Iterable[pa.RecordBatch]]:
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
        self.ks = tuple(ks)
        self.max_k = max(ks)
        self.rank_counts = np.zeros(self.max_k + 2, dtype=np.int64)
        self.shown_CI = np.zeros((len(self.ks), self.num_items), dtype=bool)
        self.other_counts: dict[_Key, int] = defaultdict(int)

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
            self._add_ranks(hidden, target)

    def _add_ranks(self, hidden_ND: Tensor, target_N: Tensor) -> None:
        scores_NI = self.model.item_scores(hidden_ND).float()
        rank_N = target_rank(scores_NI, target_N).clamp_(max=self.max_k + 1)
        rank_N[target_N < FIRST_ITEM] = self.max_k + 1  # an unknown item cannot be recommended
        self.rank_counts += np.bincount(rank_N.numpy(), minlength=self.max_k + 2)
        items_NK = top_k(lambda start, stop: scores_NI[:, start:stop], self.num_items, self.max_k)[1].numpy()
        for row, k in enumerate(self.ks):
            shown = items_NK[:, :k]
            self.shown_CI[row, shown[shown >= 0]] = True

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
        """Columns `_COUNTED`.

            kind              k    key          label  n
            rank              0    rank         0      targets
            shown             k    item         0      1
            purchase, …       0    probability  label  places
            purchase, …       1    the same before calibration
            next_type         0    1: right     0      places
            nats              0    0            0      sum of -log probability, in steps of 1 / NATS_STEPS
        """
        rows = [("rank", 0, int(rank), 0, int(self.rank_counts[rank])) for rank in self.rank_counts.nonzero()[0]]
        rows += [("shown", self.ks[row], int(item), 0, 1) for row, item in zip(*self.shown_CI.nonzero(), strict=True)]
        rows += [(*key, n) for key, n in self.other_counts.items()]
        columns: list[Any] = list(zip(*rows, strict=True)) or [[]] * len(_COUNTED_ARROW)
        return pa.RecordBatch.from_arrays(
            [pa.array(c, f.type) for c, f in zip(columns, _COUNTED_ARROW, strict=True)], schema=_COUNTED_ARROW
        )
