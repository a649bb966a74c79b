"""Metrics from counts: how often each rank, and each (predicted probability, label), was seen.

Counts are whole numbers, so they add up the same in any order over any number of tasks, and their size
does not depend on the size of the data. Every metric of `evaluate` is a function of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

PROBABILITY_STEPS = 1_000_000
"""Probabilities are counted rounded to 1 / PROBABILITY_STEPS."""

NUM_BINS = 10
"""Bins of the calibration errors and of the CALIBRATION table."""

_CLIP = 0.5 / PROBABILITY_STEPS
"""Log loss takes a probability that was rounded to 0 or 1 for half a step away from it."""


def ranking_metrics(ranks: Mapping[int, int], ks: Sequence[int]) -> dict[tuple[str, int], float | None]:
    """recall, ndcg and mrr at each k, from `ranks`: rank (1 is best) -> targets that had it.

    There is one right item per target: its gain is 1 / log2(1 + rank) of an ideal 1. A rank beyond k counts 0,
    so all ranks beyond the largest k may share one entry. None without any target.
    """
    targets = sum(ranks.values())
    gains = {"recall": lambda rank: 1.0, "ndcg": lambda rank: 1 / math.log2(1 + rank), "mrr": lambda rank: 1 / rank}
    return {
        (metric, k): math.fsum(n * gain(rank) for rank, n in ranks.items() if rank <= k) / targets if targets else None
        for k in ks
        for metric, gain in gains.items()
    }


@dataclass(frozen=True)
class BinaryCounts:
    """How many points had each predicted probability: S different probabilities, rising."""

    probability_S: np.ndarray
    negatives_S: np.ndarray
    positives_S: np.ndarray

    @classmethod
    def of(cls, counts: Mapping[tuple[int, int], int]) -> BinaryCounts:
        """From (probability in steps of 1 / PROBABILITY_STEPS, label 0 or 1) -> points."""
        steps = sorted({step for step, _ in counts})
        return cls(
            np.array(steps, dtype=np.float64) / PROBABILITY_STEPS,
            np.array([counts.get((s, 0), 0) for s in steps], dtype=np.int64),
            np.array([counts.get((s, 1), 0) for s in steps], dtype=np.int64),
        )

    @property
    def points(self) -> int:
        return int(self.negatives_S.sum() + self.positives_S.sum())

    @property
    def positives(self) -> int:
        return int(self.positives_S.sum())


def binary_metrics(counts: BinaryCounts, threshold: float) -> dict[str, float | None]:
    """Every metric of a yes-or-no question; None where it is not defined (no points, one class only, no yes said)."""
    points, positives = counts.points, counts.positives
    called = counts.probability_S >= threshold
    hits, calls = int(counts.positives_S[called].sum()), int((counts.positives_S + counts.negatives_S)[called].sum())
    both = 0 < positives < points
    labels, predicted, weights = _weighted(counts)
    return {
        "roc_auc": float(roc_auc_score(labels, predicted, sample_weight=weights)) if both else None,
        "pr_auc": float(average_precision_score(labels, predicted, sample_weight=weights)) if both else None,
        "precision": hits / calls if calls else None,
        "recall": hits / positives if positives else None,
        "f1": 2 * hits / (calls + positives) if positives else None,
        "log_loss": _log_loss(counts) if points else None,
        "calibration_error": calibration_error(counts),
        "calibration_error_mass": calibration_error_mass(counts),
        "base_rate": positives / points if points else None,
    }


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


def _log_loss(counts: BinaryCounts) -> float:
    clipped_S = np.clip(counts.probability_S, _CLIP, 1 - _CLIP)
    loss = -(counts.positives_S * np.log(clipped_S) + counts.negatives_S * np.log1p(-clipped_S)).sum()
    return float(loss / counts.points)


def _weighted(counts: BinaryCounts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, predictions and weights as scikit-learn takes them: every probability once per label."""
    size = len(counts.probability_S)
    labels = np.repeat([0, 1], size)
    return labels, np.tile(counts.probability_S, 2), np.concatenate([counts.negatives_S, counts.positives_S])
