"""What leaves a task that answers: how often each rank and each probability occurred, and which items were shown.

    kind              k    key          label  n
    rank              0    rank         0      targets
    cold              0    rank         0      those of them whose items have no history on the train span
    shown             k    item         0      1
    purchase, …       0    probability  label  places
    purchase, …       1    the same before calibration
    next_type         0    1: right     0      places
    nats              0    0            0      sum of -log probability, in steps of 1 / NATS_STEPS

Legend: N targets, I items (special ids included), K items shown, C cut-offs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyspark.sql.functions as F
from pyspark.sql import DataFrame
from torch import Tensor

from purchasepath.datasets.manifest import FIRST_ITEM, Manifest
from purchasepath.scoring.topk import top_k
from purchasepath.training.metrics import target_rank

Key = tuple[str, int, int, int]
"""kind, k, key, label of what is counted"""
Counting = Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]
"""Answers a partition of EXAMPLES and gives `counted_batch`es."""

NATS_STEPS = 1_000_000
"""Logarithms are added up rounded to 1 / NATS_STEPS: sums are the same in any order."""

_COUNTED = "kind string NOT NULL, k int NOT NULL, key bigint NOT NULL, label int NOT NULL, n bigint NOT NULL"
_COUNTED_ARROW = pa.schema([
    ("kind", pa.string()), ("k", pa.int32()), ("key", pa.int64()), ("label", pa.int32()), ("n", pa.int64()),
])


def count_answers(examples: DataFrame, counting: Counting) -> dict[Key, int]:
    """Sums over all tasks; `shown` has no items left, its n is the number of different ones."""
    counted = examples.mapInArrow(counting, _COUNTED)
    # an item shown by several tasks is one item: sum first, then count
    items = F.col("kind") == "shown"
    summed = counted.groupBy("kind", "k", "key", "label").agg(F.sum("n").alias("n"))
    found = summed.groupBy("kind", "k", F.when(~items, F.col("key")).alias("key"), "label").agg(
        F.when(items, F.count(F.lit(1))).otherwise(F.sum("n")).alias("n")
    ).collect()  # at most max(ks) + 1 ranks, len(ks) coverages and 4 x PROBABILITY_STEPS counts a question
    return {(r["kind"], r["k"], r["key"] or 0, r["label"]): r["n"] for r in found}


def item_counts(
    counts: Mapping[Key, int], ks: Sequence[int]
) -> tuple[dict[int, int], dict[int, int], dict[int, int]]:
    """Of `count_answers`: rank -> targets, the same of items without a history, k -> items among the first k."""
    ranks, cold = ({rank: n for (found, _, rank, _), n in counts.items() if found == kind} for kind in ("rank", "cold"))
    return ranks, cold, dict.fromkeys(ks, 0) | {k: n for (kind, k, _, _), n in counts.items() if kind == "shown"}


def counted_batch(rows: Iterable[tuple[str, int, int, int, int]]) -> pa.RecordBatch:
    """Rows (kind, k, key, label, n) as Arrow."""
    columns: list[Any] = list(zip(*rows, strict=True)) or [[]] * len(_COUNTED_ARROW)
    return pa.RecordBatch.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, _COUNTED_ARROW, strict=True)], schema=_COUNTED_ARROW
    )


class RankCounts:
    """Ranks of targets, and the items shown at them, over any number of batches."""

    def __init__(self, manifest: Manifest, ks: Sequence[int]) -> None:
        self.num_items, self.num_known = manifest.num_items, manifest.num_known
        self.ks, self.max_k = tuple(ks), max(ks)
        self.rank_counts = {kind: np.zeros(self.max_k + 2, dtype=np.int64) for kind in ("rank", "cold")}
        self.shown_CI = np.zeros((len(self.ks), self.num_items), dtype=bool)

    def add(self, scores_NI: Tensor, target_N: Tensor) -> None:
        rank_N = target_rank(scores_NI, target_N).clamp_(max=self.max_k + 1)
        rank_N[target_N < FIRST_ITEM] = self.max_k + 1  # an unknown item cannot be recommended
        cold_N = (target_N < FIRST_ITEM) | (target_N >= self.num_known)
        for kind, counted_N in (("rank", rank_N), ("cold", rank_N[cold_N])):
            self.rank_counts[kind] += np.bincount(counted_N.numpy(), minlength=self.max_k + 2)
        items_NK = top_k(lambda start, stop: scores_NI[:, start:stop], self.num_items, self.max_k)[1].numpy()
        for row, k in enumerate(self.ks):
            shown = items_NK[:, :k]
            self.shown_CI[row, shown[shown >= 0]] = True

    def rows(self) -> list[tuple[str, int, int, int, int]]:
        ranks = [(kind, 0, int(rank), 0, int(counts[rank]))
                 for kind, counts in self.rank_counts.items() for rank in counts.nonzero()[0]]
        shown = zip(*self.shown_CI.nonzero(), strict=True)
        return ranks + [("shown", self.ks[c], int(item), 0, 1) for c, item in shown]
