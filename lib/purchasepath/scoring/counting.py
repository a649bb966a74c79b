"""What leaves a task that answers: how often each rank and each probability occurred, and which items were shown.

    kind              k    bucket  key          label  n
    rank              0    bucket  rank         0      targets
    cold              0    bucket  rank         0      those of them whose items have no history on the train span
    shown             k    0       item         0      1
    purchase, …       0    0       probability  label  places
    purchase, …       1    0       the same before calibration
    purchase cells …  0    bucket  cell         label  places, the probability in `measures.CELLS`
    purchase cells …  1    bucket  the same before calibration
    value predicted … 0    bucket  cell         what   added up (`amounts.py`); so are `happened`, `both`, `wide`
    next_type         0    bucket  1: right     0      places
    nats              0    bucket  0            0      sum of -log probability, in steps of 1 / NATS_STEPS

A bucket is one of visitors (`intervals.py`).

Legend: N targets or points, I items (special ids included), K items shown, C cut-offs, G buckets of visitors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyspark.sql.functions as F
from pyspark.sql import DataFrame
from torch import Tensor

from purchasepath.datasets.manifest import FIRST_ITEM, Manifest
from purchasepath.scoring.amounts import AmountCounts
from purchasepath.scoring.intervals import BUCKETS
from purchasepath.scoring.measures import PROBABILITY_STEPS, BinaryCounts, cells_of
from purchasepath.scoring.topk import top_k
from purchasepath.training.metrics import target_rank

Key = tuple[str, int, int, int, int]
"""kind, k, bucket, key, label of what is counted"""
Counting = Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]
"""Answers a partition of EXAMPLES and gives `counted_batch`es."""

NATS_STEPS = 1_000_000
"""Logarithms are added up rounded to 1 / NATS_STEPS: sums are the same in any order."""

_KEYS = PROBABILITY_STEPS + 1

_COUNTED = ("kind string NOT NULL, k int NOT NULL, bucket int NOT NULL, key bigint NOT NULL, label int NOT NULL, "
            "n bigint NOT NULL")
_COUNTED_ARROW = pa.schema([
    ("kind", pa.string()), ("k", pa.int32()), ("bucket", pa.int32()), ("key", pa.int64()), ("label", pa.int32()),
    ("n", pa.int64()),
])


def count_answers(examples: DataFrame, counting: Counting) -> dict[Key, int]:
    """Sums over all tasks; `shown` has no items left, its n is the number of different ones."""
    counted = examples.mapInArrow(counting, _COUNTED)
    # an item shown by several tasks is one item: sum first, then count
    items = F.col("kind") == "shown"
    summed = counted.groupBy("kind", "k", "bucket", "key", "label").agg(F.sum("n").alias("n"))
    # at most BUCKETS x (max(ks) + 1) ranks, len(ks) coverages and, a task, 4 x PROBABILITY_STEPS counts of
    # probabilities and 4 x BUCKETS x CELLS of cells, or of amounts some 5 x BUCKETS x their CELLS
    found = summed.groupBy("kind", "k", "bucket", F.when(~items, F.col("key")).alias("key"), "label").agg(
        F.when(items, F.count(F.lit(1))).otherwise(F.sum("n")).alias("n")
    ).toArrow()
    *keys, numbers = (column.to_pylist() for column in found.columns)
    return {(kind, k, bucket, key or 0, label): n
            for kind, k, bucket, key, label, n in zip(*keys, numbers, strict=True)}


def item_counts(counts: Mapping[Key, int], ks: Sequence[int]) -> tuple[np.ndarray, np.ndarray, dict[int, int]]:
    """Of `count_answers`: targets by bucket and rank, those without a history, k -> items among the first k."""
    ranks = {kind: no_ranks(ks) for kind in ("rank", "cold")}
    for (kind, _, bucket, rank, _), n in counts.items():
        if kind in ranks:
            ranks[kind][bucket, rank] = n
    shown = {k: n for (kind, k, *_), n in counts.items() if kind == "shown"}
    return ranks["rank"], ranks["cold"], dict.fromkeys(ks, 0) | shown


def no_ranks(ks: Sequence[int]) -> np.ndarray:
    """Zeros by bucket and rank: 0, which nobody has, to the largest cut-off + 1, which stands for all beyond."""
    return np.zeros((BUCKETS, max(ks) + 2), dtype=np.int64)


def amount_counts(counts: Mapping[Key, int], task: str) -> AmountCounts:
    """Of `count_answers`: of a task whose answer is an amount or a count."""
    return AmountCounts.of({(kind.removeprefix(f"{task} "), bucket, key, what): n
                            for (kind, _, bucket, key, what), n in counts.items() if kind.startswith(f"{task} ")})


def binary_counts(counts: Mapping[Key, int], task: str, raw: int = 0) -> BinaryCounts:
    """Of `count_answers`: the probabilities of a yes-or-no task; `raw` 1: before calibration."""
    steps = {(step, label): n for (kind, k, _, step, label), n in counts.items() if (kind, k) == (task, raw)}
    cells = {(bucket, cell, label): n for (kind, k, bucket, cell, label), n in counts.items()
             if (kind, k) == (f"{task} cells", raw)}
    return BinaryCounts.of(steps, cells)


def counted_batch(rows: Iterable[tuple[str, int, int, int, int, int]]) -> pa.RecordBatch:
    """Rows (kind, k, bucket, key, label, n) as Arrow."""
    columns: list[Any] = list(zip(*rows, strict=True)) or [[]] * len(_COUNTED_ARROW)
    return pa.RecordBatch.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, _COUNTED_ARROW, strict=True)], schema=_COUNTED_ARROW
    )


class RankCounts:
    """Ranks of targets, and the items shown at them, over any number of batches."""

    def __init__(self, manifest: Manifest, ks: Sequence[int]) -> None:
        self.num_items, self.num_known = manifest.num_items, manifest.num_known
        self.ks, self.max_k = tuple(ks), max(ks)
        self.counts_GK = {kind: no_ranks(ks) for kind in ("rank", "cold")}
        self.shown_CI = np.zeros((len(self.ks), self.num_items), dtype=bool)

    def add(self, scores_NI: Tensor, target_N: Tensor, bucket_N: np.ndarray) -> None:
        rank_N = target_rank(scores_NI, target_N).clamp_(max=self.max_k + 1)
        rank_N[target_N < FIRST_ITEM] = self.max_k + 1  # an unknown item cannot be recommended
        cold_N = (target_N < FIRST_ITEM) | (target_N >= self.num_known)
        for kind, counted_N in (("rank", np.ones(len(rank_N), dtype=bool)), ("cold", cold_N.numpy())):
            np.add.at(self.counts_GK[kind], (bucket_N[counted_N], rank_N.numpy()[counted_N]), 1)
        items_NK = top_k(lambda start, stop: scores_NI[:, start:stop], self.num_items, self.max_k)[1].numpy()
        for row, k in enumerate(self.ks):
            shown = items_NK[:, :k]
            self.shown_CI[row, shown[shown >= 0]] = True

    def rows(self) -> list[tuple[str, int, int, int, int, int]]:
        ranks = [(kind, 0, int(bucket), int(rank), 0, int(counts_GK[bucket, rank]))
                 for kind, counts_GK in self.counts_GK.items()
                 for bucket, rank in zip(*counts_GK.nonzero(), strict=True)]
        shown = zip(*self.shown_CI.nonzero(), strict=True)
        return ranks + [("shown", self.ks[c], 0, int(item), 0, 1) for c, item in shown]


class PointCounts:
    """Probabilities of a yes-or-no task with its answers, over any number of batches."""

    def __init__(self, task: str, raw: int = 0) -> None:
        self.task, self.raw = task, raw
        self.counts: dict[Key, int] = defaultdict(int)

    def add(self, probability_N: np.ndarray, answer_N: np.ndarray, bucket_N: np.ndarray) -> None:
        """Raises ValueError for a probability that is no number."""
        if not np.isfinite(probability_N).all():
            raise ValueError(f"the model gives probabilities of {self.task} that are not numbers")
        step_N = np.floor(probability_N.astype(np.float64) * PROBABILITY_STEPS + 0.5).astype(np.int64)
        label_N = answer_N.astype(np.int64)
        self._count(self.task, np.zeros_like(step_N), step_N, label_N)
        self._count(f"{self.task} cells", bucket_N.astype(np.int64), cells_of(step_N), label_N)

    def _count(self, kind: str, bucket_N: np.ndarray, key_N: np.ndarray, label_N: np.ndarray) -> None:
        # as one number: finding equal ones among rows of three takes ten times as long
        codes, counts = np.unique((bucket_N * _KEYS + key_N) * 2 + label_N, return_counts=True)
        places, labels = np.divmod(codes, 2)
        for bucket, key, label, n in zip(*(part.tolist() for part in (*np.divmod(places, _KEYS), labels, counts)),
                                         strict=True):
            self.counts[kind, self.raw, bucket, key, label] += n

    def rows(self) -> list[tuple[str, int, int, int, int, int]]:
        return [(*key, n) for key, n in self.counts.items()]
