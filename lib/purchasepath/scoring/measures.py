"""Metrics from counts: how often each rank, and each (predicted probability, label), was seen.

Counts are whole numbers, so they add up the same in any order over any number of tasks, and their size
does not depend on the size of the data. Every metric of `evaluate` is a function of them: of everybody's counts for its
value, and of every sample's for its interval (`intervals.py`).

Legend: S different probabilities, C cells of them, K ranks (0 to the largest cut-off + 1), G buckets of visitors,
R samples of visitors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from purchasepath.scoring.intervals import BUCKETS, resample

PROBABILITY_STEPS = 1_000_000
"""Probabilities are counted rounded to 1 / PROBABILITY_STEPS."""

NUM_BINS = 10
"""Bins of the calibration errors and of the CALIBRATION table."""

LOWER_IS_BETTER = ("decile_error", *(
    metric + raw for metric in ("log_loss", "calibration_error", "calibration_error_mass") for raw in ("", "_raw")))

CELLS = 466
"""By bucket of visitors, probabilities are counted in cells: the whole numbers of 16 logit, from -233 to 232."""

_CLIP = 0.5 / PROBABILITY_STEPS
"""Log loss takes a probability that was rounded to 0 or 1 for half a step away from it."""


def ranking_metrics(ranks_RK: np.ndarray, ks: Sequence[int]) -> dict[tuple[str, int], np.ndarray]:
    """recall, ndcg and mrr at each k in every sample, from the targets that had each rank (1 is best, 0 nobody's).

    There is one right item per target: its gain is 1 / log2(1 + rank) of an ideal 1. A rank beyond k counts 0,
    so all ranks beyond the largest k may share one entry. NaN without any target.
    """
    rank_K = np.arange(1, ranks_RK.shape[-1])
    gains = {"recall": np.ones(len(rank_K)), "ndcg": 1 / np.log2(1 + rank_K), "mrr": 1 / rank_K}
    targets_R = ranks_RK.sum(axis=-1)
    return {
        (metric, k): ratio(ranks_RK[..., 1 : k + 1] @ gain_K[:k], targets_R)
        for k in ks
        for metric, gain_K in gains.items()
    }


@dataclass(frozen=True)
class Points:
    """Points by probability (S different ones, rising) and label, in every sample; a loss is that of one point."""

    probability_S: np.ndarray
    negatives_RS: np.ndarray
    positives_RS: np.ndarray
    negative_loss_S: np.ndarray
    positive_loss_S: np.ndarray


@dataclass(frozen=True)
class BinaryCounts:
    """How many points had each predicted probability: S different probabilities, rising; and by bucket in cells."""

    probability_S: np.ndarray
    negatives_S: np.ndarray
    positives_S: np.ndarray
    negatives_GC: np.ndarray
    positives_GC: np.ndarray

    @classmethod
    def of(
        cls, counts: Mapping[tuple[int, int], int], cells: Mapping[tuple[int, int, int], int] | None = None
    ) -> BinaryCounts:
        """From (probability in steps of 1 / PROBABILITY_STEPS, label 0 or 1), and (bucket, cell, label), -> points.

        Without `cells` the metrics have values and no intervals.
        """
        steps = sorted({step for step, _ in counts})
        by_label = np.zeros((2, BUCKETS, CELLS))
        for (bucket, cell, label), n in (cells or {}).items():
            by_label[label, bucket, cell] = n
        return cls(
            np.array(steps, dtype=np.float64) / PROBABILITY_STEPS,
            np.array([counts.get((s, 0), 0) for s in steps], dtype=np.int64),
            np.array([counts.get((s, 1), 0) for s in steps], dtype=np.int64),
            *by_label,
        )

    @property
    def points(self) -> int:
        return int(self.negatives_S.sum() + self.positives_S.sum())

    @property
    def everybody(self) -> Points:
        """Of all visitors, every probability by itself."""
        clipped_S = np.clip(self.probability_S, _CLIP, 1 - _CLIP)
        return Points(self.probability_S, self.negatives_S, self.positives_S, -np.log1p(-clipped_S), -np.log(clipped_S))

    @property
    def samples(self) -> Points:
        """Of every sample, by cell. A point has the mean probability and the mean loss of its label in its cell."""
        everybody = self.everybody
        cell_S = cells_of(np.rint(self.probability_S * PROBABILITY_STEPS))
        points_S = self.negatives_S + self.positives_S

        def mean_by_cell(value_S: np.ndarray, weight_S: np.ndarray) -> np.ndarray:
            total_C = np.bincount(cell_S, weight_S * value_S, CELLS)
            return total_C / np.maximum(np.bincount(cell_S, weight_S, CELLS), 1)

        used_C = np.bincount(cell_S, points_S, CELLS) > 0
        return Points(
            mean_by_cell(self.probability_S, points_S)[used_C],
            resample(self.negatives_GC[:, used_C]), resample(self.positives_GC[:, used_C]),
            mean_by_cell(everybody.negative_loss_S, self.negatives_S)[used_C],
            mean_by_cell(everybody.positive_loss_S, self.positives_S)[used_C],
        )


def cells_of(step_N: np.ndarray) -> np.ndarray:
    """Cell (0 … CELLS - 1) of each probability, in steps of 1 / PROBABILITY_STEPS; rising with it."""
    logit_N = np.log(step_N + 0.5) - np.log(PROBABILITY_STEPS - step_N + 0.5)
    return np.floor(16 * logit_N).astype(np.int64) + CELLS // 2


def binary_metrics(points: Points, threshold: float) -> dict[str, np.ndarray]:
    """Metrics of a yes-or-no question in every sample; NaN where not defined (no points, one class, no yes said)."""
    negatives_RS, positives_RS, called_S = points.negatives_RS, points.positives_RS, points.probability_S >= threshold
    negatives_R, positives_R = negatives_RS.sum(axis=-1), positives_RS.sum(axis=-1)
    points_R = negatives_R + positives_R
    hits_R = positives_RS[..., called_S].sum(axis=-1)
    calls_R = hits_R + negatives_RS[..., called_S].sum(axis=-1)
    loss_R = positives_RS @ points.positive_loss_S + negatives_RS @ points.negative_loss_S
    return {
        "roc_auc": _roc_auc(negatives_RS, positives_RS),
        "pr_auc": ratio(_average_precision(negatives_RS, positives_RS), negatives_R > 0),
        "precision": ratio(hits_R, calls_R),
        "recall": ratio(hits_R, positives_R),
        "f1": ratio(2 * hits_R, ratio(calls_R + positives_R, positives_R > 0)),
        "log_loss": ratio(loss_R, points_R),
        "base_rate": ratio(positives_R, points_R),
    }


def _roc_auc(negatives_RS: np.ndarray, positives_RS: np.ndarray) -> np.ndarray:
    """Share of the pairs of a yes and a no whose yes has the higher probability; equal ones count half."""
    below_RS = negatives_RS.cumsum(axis=-1) - negatives_RS / 2
    pairs_R = negatives_RS.sum(axis=-1, dtype=np.float64) * positives_RS.sum(axis=-1, dtype=np.float64)
    return ratio((positives_RS * below_RS).sum(axis=-1), pairs_R)


def _average_precision(negatives_RS: np.ndarray, positives_RS: np.ndarray) -> np.ndarray:
    """Mean, over the yeses, of the precision of saying yes from their probability on."""
    found_RS = positives_RS[..., ::-1].cumsum(axis=-1)
    called_RS = found_RS + negatives_RS[..., ::-1].cumsum(axis=-1)
    precise_RS = positives_RS[..., ::-1] * (found_RS / np.maximum(called_RS, 1))
    return ratio(precise_RS.sum(axis=-1), positives_RS.sum(axis=-1))


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole; NaN where whole is 0, False or NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, part / whole, np.nan)


@dataclass(frozen=True)
class CalibrationBin:
    """The points whose predicted probability lies in [bin / 10, (bin + 1) / 10); the last bin includes 1."""

    bin: int
    points: int
    mean_predicted: float
    observed: float


def calibration_bins(counts: BinaryCounts) -> list[CalibrationBin]:
    """The bins that hold points, rising."""
    # whole steps: 0.3 * 10 is not 3 in floating point
    steps_S = np.rint(counts.probability_S * PROBABILITY_STEPS).astype(np.int64)
    bin_S = np.minimum(steps_S * NUM_BINS // PROBABILITY_STEPS, NUM_BINS - 1)
    points_S = counts.negatives_S + counts.positives_S
    bins = []
    for number in range(NUM_BINS):
        inside = (bin_S == number) & (points_S > 0)
        if inside.any():
            points = int(points_S[inside].sum())
            mean = float((counts.probability_S * points_S)[inside].sum() / points)
            bins.append(CalibrationBin(number, points, mean, float(counts.positives_S[inside].sum() / points)))
    return bins


def calibration_error(counts: BinaryCounts) -> float | None:
    """Expected calibration error: mean distance of predicted and observed over bins of equal width.

    Each bin is weighted by its points: sum of |B| / n * |observed(B) - predicted(B)|, formula 3 of Guo and others
    (2017), after Naeini and others (2015), for the probability of a yes. None without points.
    """
    if not counts.points:
        return None
    return sum(b.points * abs(b.mean_predicted - b.observed) for b in calibration_bins(counts)) / counts.points


def calibration_error_mass(counts: BinaryCounts) -> float | None:
    """The same over bins of equal mass: tells more where most probabilities are small and share one bin of width.

    Equal probabilities stay together, in the bin that the middle one of them falls into.
    """
    if not counts.points:
        return None
    points_S = counts.negatives_S + counts.positives_S
    middle_S = points_S.cumsum() - points_S / 2
    bin_S = (middle_S * NUM_BINS / counts.points).astype(np.int64)
    distance = np.bincount(bin_S, weights=counts.probability_S * points_S - counts.positives_S)
    return float(np.abs(distance).sum() / counts.points)
