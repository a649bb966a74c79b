"""What latent factors answer at every next-item target.

Legend: H histories, that is targets; D factors, I items (special ids included).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from pyspark.sql import DataFrame

from purchasepath.datasets.manifest import Manifest
from purchasepath.models.factors import RANK, LatentFactors, histories_until, item_factors
from purchasepath.scoring.answers import Answers
from purchasepath.scoring.counting import RankCounts, count_answers, counted_batch, item_counts

_MAX_NUMBERS = 2**22
"""Most numbers of one kind (scores, or a history's matrix) held at once: 32 MiB."""


def factor_answers(
    train: DataFrame, test: DataFrame, popular: DataFrame, manifest: Manifest, *, ks: Sequence[int]
) -> Answers:
    """Answers at the targets of `test`, from items' factors fitted on `train`.

    Items without factors, because no example of `train` has them, come last and tie. After a history without an item
    that has factors, `popular` answers.
    """
    # as large as the item table of the model beside it, which every worker holds, too
    fitted, counted = item_factors(train).toArrow(), popular.select("item", "popular").toArrow()
    factors_ID, popular_I = np.zeros((manifest.num_items, RANK)), np.full(manifest.num_items, -np.inf)
    factors_ID[fitted["item"]] = pc.list_flatten(fitted["factors"]).to_numpy().reshape(-1, RANK)
    popular_I[counted["item"]] = counted["popular"]
    sent = test.sparkSession.sparkContext.broadcast((factors_ID, popular_I))

    def counting(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        factors_ID, popular_I = sent.value
        factors, counts = LatentFactors(factors_ID), RankCounts(manifest, ks)
        for batch in batches:
            add_answers(batch, factors, popular_I, counts)
        yield counted_batch(counts.rows())

    return Answers(*item_counts(count_answers(test.select("item", "target", "bucket"), counting), ks))


def add_answers(rows: pa.RecordBatch, factors: LatentFactors, popular_I: np.ndarray, counts: RankCounts) -> None:
    """Counts the answers at every target of these EXAMPLES rows."""
    length_B = np.diff(rows.column("item").offsets.to_numpy())
    item_N, target_N = (rows.column(name).flatten().to_numpy() for name in ("item", "target"))
    num_items, size = factors.factors_ID.shape
    target_H = target_N[target_N > 0].astype(np.int64)
    bucket_H = np.repeat(rows.column("bucket").to_numpy(), length_B)[target_N > 0]
    at_once = max(1, _MAX_NUMBERS // max(num_items, size * size))
    parts = histories_until(item_N, length_B, target_N > 0, at_once)
    for start, histories in zip(range(0, len(target_H), at_once), parts, strict=True):
        scores_HI = factors.scores(histories)
        scores_HI[~np.isfinite(scores_HI).any(axis=1)] = popular_I
        part = slice(start, start + at_once)
        counts.add(torch.from_numpy(scores_HI), torch.from_numpy(target_H[part]), bucket_H[part])
