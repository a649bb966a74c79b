"""Amounts and counts that were predicted, beside those that came: counts by cells, and the metrics of them.

Values are counted in cells of a sixteenth of a logarithm, so that the counts are whole numbers of a bounded size, and
the metrics functions of them, as in `measures.py`. Sums of values are exact, in millionths.

Legend: C cells, W wide cells, G buckets of visitors, R samples of visitors (see `intervals.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from purchasepath.scoring.intervals import BUCKETS, resample
from purchasepath.scoring.measures import NUM_BINS, CalibrationBin, ratio

CELLS = 560
"""0: nothing; else a sixteenth of a natural logarithm, from about a millionth to a billion."""
_NONE_BELOW = 225
_WIDE = 16
"""Cells that are one where the intervals of rank correlations are made."""
WIDE_CELLS = CELLS // _WIDE
MILLION = 1_000_000
POINTS, PREDICTED, HAPPENED = 0, 1, 2
"""What is added up of a cell: points, and in millionths what was predicted and what came."""

Sums = Mapping[tuple[str, int, int, int], int]
"""(part, bucket, key, what is added up) → the sum."""


def cells_of_amounts(value_N: np.ndarray) -> np.ndarray:
    """Cell (0 … CELLS - 1) of each value; rising with it."""
    some_N = value_N > 0
    log_N = np.log(np.where(some_N, value_N, 1.0))
    cell_N = np.clip(np.floor(16 * log_N).astype(np.int64) + _NONE_BELOW, 1, CELLS - 1)
    return np.where(some_N, cell_N, 0)


class AmountSums:
    """Sums over any number of batches."""

    def __init__(self, task: str) -> None:
        self.task = task
        self.sums: Counter[tuple[str, int, int, int]] = Counter()

    def add(self, predicted_N: np.ndarray, happened_N: np.ndarray, bucket_N: np.ndarray) -> None:
        """Raises ValueError for a prediction that is no number."""
        if not np.isfinite(predicted_N).all():
            raise ValueError(f"the model gives answers to {self.task} that are not numbers")
        predicted_N, happened_N = (np.maximum(v.astype(np.float64), 0.0) for v in (predicted_N, happened_N))
        by_predicted_N, by_happened_N = cells_of_amounts(predicted_N), cells_of_amounts(happened_N)
        sums = {POINTS: np.ones(len(bucket_N), np.int64), PREDICTED: _millionths(predicted_N),
                HAPPENED: _millionths(happened_N)}
        wide_N = by_predicted_N // _WIDE * WIDE_CELLS + by_happened_N // _WIDE
        nobody_N = np.zeros_like(bucket_N)
        for part, of_N, key_N, added in (
            ("predicted", bucket_N, by_predicted_N, (POINTS, PREDICTED, HAPPENED)),
            ("happened", bucket_N, by_happened_N, (POINTS, HAPPENED)),
            ("both", nobody_N, by_predicted_N * CELLS + by_happened_N, (POINTS,)),
            ("wide", bucket_N, wide_N, (POINTS,)),
        ):
            code_N = of_N.astype(np.int64) * CELLS**2 + key_N
            codes, place_N = np.unique(code_N, return_inverse=True)
            buckets, keys = np.divmod(codes, CELLS**2)
            for what in added:
                total = np.zeros(len(codes), np.int64)
                np.add.at(total, place_N, sums[what])
                for bucket, key, n in zip(buckets.tolist(), keys.tolist(), total.tolist(), strict=True):
                    self.sums[part, bucket, key, what] += n

    def rows(self) -> list[tuple[str, int, int, int, int, int]]:
        """For `counting.counted_batch`."""
        return [(f"{self.task} {part}", 0, bucket, key, what, n)
                for (part, bucket, key, what), n in self.sums.items()]


def _millionths(value_N: np.ndarray) -> np.ndarray:
    return np.rint(value_N * MILLION).astype(np.int64)


@dataclass(frozen=True)
class AmountCounts:
    """Points and sums by bucket and cell of what was predicted, of what came, and of both."""

    points_GC: np.ndarray
    predicted_GC: np.ndarray
    happened_GC: np.ndarray
    """by cell of what was predicted"""
    own_points_GC: np.ndarray
    own_happened_GC: np.ndarray
    """by cell of what came"""
    both_CC: np.ndarray
    wide_GX: np.ndarray
    """X: wide cell of what was predicted x WIDE_CELLS + that of what came"""

    @classmethod
    def of(cls, sums: Sums) -> AmountCounts:
        shapes = {"predicted": (3, BUCKETS, CELLS), "happened": (3, BUCKETS, CELLS), "both": (3, 1, CELLS**2),
                  "wide": (3, BUCKETS, WIDE_CELLS**2)}
        parts = {part: np.zeros(shape[1:] if part in ("both", "wide") else shape) for part, shape in shapes.items()}
        for (part, bucket, key, what), n in sums.items():
            if part in ("both", "wide"):
                parts[part][bucket, key] = n
            else:
                parts[part][what, bucket, key] = n if what == POINTS else n / MILLION
        points, predicted, happened = parts["predicted"]
        return cls(points, predicted, happened, parts["happened"][POINTS], parts["happened"][HAPPENED],
                   parts["both"].reshape(CELLS, CELLS), parts["wide"])

    @property
    def points(self) -> int:
        return int(self.points_GC.sum())


def amount_metrics(counts: AmountCounts) -> dict[str, tuple[Any, np.ndarray | None]]:
    """Metric → its value, and its values in the samples.

    - mean: of what came. sum_error: sum of the predictions / sum of what came - 1.
    - spearman: rank correlation, equal values sharing their mean rank.
    - gini: normalised Gini coefficient: how far the order of the predictions gathers what came, as a share of how far
      the right order does (Wang, Liu and Miao 2019, section 5.1).
    - top_decile_share: share of what came that the tenth of the points with the largest predictions brought.
    - decile_error: mean distance of predicted and real sums over tenths of the points, as a share of what came.

    NaN where nothing came, or all points are alike.
    """
    everybody = [part.sum(axis=0, keepdims=True) for part in (
        counts.points_GC, counts.predicted_GC, counts.happened_GC, counts.own_points_GC, counts.own_happened_GC)]
    samples = [resample(part) for part in (
        counts.points_GC, counts.predicted_GC, counts.happened_GC, counts.own_points_GC, counts.own_happened_GC)]
    found, found_R = _metrics(*everybody), _metrics(*samples)
    spearman = rank_correlation(counts.both_CC[None])[0]
    spearman_R = rank_correlation(resample(counts.wide_GX).reshape(-1, WIDE_CELLS, WIDE_CELLS))
    bins = decile_bins(counts)
    error = ratio(np.array(sum(b.points * abs(b.mean_predicted - b.observed) for b in bins)),
                  np.array(counts.happened_GC.sum()))
    return {
        **{metric: (value[0], found_R[metric]) for metric, value in found.items()},
        "spearman": (spearman, spearman_R), "decile_error": (float(error), None),
    }


def decile_bins(counts: AmountCounts) -> list[CalibrationBin]:
    """Tenths of the points by what was predicted, rising, equal ones together: mean predicted, mean of what came."""
    points_C, predicted_C, happened_C = (
        part.sum(axis=0) for part in (counts.points_GC, counts.predicted_GC, counts.happened_GC))
    middle_C = points_C.cumsum() - points_C / 2
    bin_C = (middle_C * NUM_BINS / max(points_C.sum(), 1)).astype(np.int64)
    bins = []
    for number in range(NUM_BINS):
        inside_C = (bin_C == number) & (points_C > 0)
        if n := int(points_C[inside_C].sum()):
            bins.append(CalibrationBin(number, n, float(predicted_C[inside_C].sum() / n),
                                       float(happened_C[inside_C].sum() / n)))
    return bins


def rank_correlation(both_RCC: np.ndarray) -> np.ndarray:
    """Spearman's in every sample, of points counted by the cells of two values; NaN where one value has one cell."""
    points_R = both_RCC.sum(axis=(1, 2))
    first_RC, second_RC = (_centred_ranks(both_RCC.sum(axis=axis)) for axis in (2, 1))
    products_R = np.einsum("rc,rcd,rd->r", first_RC, both_RCC, second_RC, optimize=True)
    squares_R = [np.einsum("rc,rc->r", rank_RC**2, both_RCC.sum(axis=axis)) for rank_RC, axis in
                 ((first_RC, 2), (second_RC, 1))]
    return ratio(products_R, np.sqrt(squares_R[0] * squares_R[1]) * (points_R > 0))


def _centred_ranks(points_RC: np.ndarray) -> np.ndarray:
    return points_RC.cumsum(axis=1) - points_RC / 2 - points_RC.sum(axis=1, keepdims=True) / 2


def _metrics(
    points_RC: np.ndarray, predicted_RC: np.ndarray, happened_RC: np.ndarray, own_points_RC: np.ndarray,
    own_happened_RC: np.ndarray,
) -> dict[str, np.ndarray]:
    happened_R = happened_RC.sum(axis=1)
    return {
        "mean": ratio(happened_R, points_RC.sum(axis=1)),
        "sum_error": ratio(predicted_RC.sum(axis=1), happened_R) - 1,
        "gini": ratio(_gini(points_RC, happened_RC), _gini(own_points_RC, own_happened_RC)),
        "top_decile_share": 1 - _share_of_the_lowest(0.9, points_RC, happened_RC),
    }


def _gini(points_RC: np.ndarray, happened_RC: np.ndarray) -> np.ndarray:
    """1 - twice the area below the Lorenz curve, cells in rising order."""
    width_RC = ratio(points_RC, points_RC.sum(axis=1, keepdims=True))
    height_RC = ratio(happened_RC, happened_RC.sum(axis=1, keepdims=True)).cumsum(axis=1)
    lower_RC = np.concatenate([np.zeros_like(height_RC[:, :1]), height_RC[:, :-1]], axis=1)
    return 1 - (width_RC * (height_RC + lower_RC)).sum(axis=1)


def _share_of_the_lowest(share: float, points_RC: np.ndarray, happened_RC: np.ndarray) -> np.ndarray:
    """What the lowest `share` of the points brought, as a share of everything; a cell's points brought alike."""
    width_RC = points_RC.cumsum(axis=1) / np.maximum(points_RC.sum(axis=1, keepdims=True), 1e-300)
    height_RC = ratio(happened_RC, happened_RC.sum(axis=1, keepdims=True)).cumsum(axis=1)
    return np.array([np.interp(share, np.concatenate([[0.0], width_C]), np.concatenate([[0.0], height_C]))
                     for width_C, height_C in zip(width_RC, height_RC, strict=True)])
