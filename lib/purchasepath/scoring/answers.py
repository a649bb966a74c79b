"""What one model answered on the test split."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from purchasepath.scoring.amounts import AmountCounts
from purchasepath.scoring.measures import BinaryCounts


@dataclass(frozen=True)
class TypeCounts:
    """Answers to the next event's type, by bucket of visitors (G)."""

    places_G: np.ndarray
    hits_G: np.ndarray
    """places where the right type was the likeliest"""
    nats_G: np.ndarray
    """sum of -log of the probability given to the right type"""


@dataclass
class Answers:
    """Counts, from which the metrics are made. Legend: G buckets of visitors, K ranks."""

    ranks_GK: np.ndarray | None = None
    """next-item targets by rank; the largest cut-off + 1 stands for everything beyond; None: not asked"""
    cold_GK: np.ndarray | None = None
    """the same of the targets without a history on the train span"""
    shown: dict[int, int] = field(default_factory=dict)
    """k -> different items among the first k shown at any target"""
    binary: dict[str, BinaryCounts] = field(default_factory=dict)
    """yes-or-no task -> its probabilities"""
    raw: dict[str, BinaryCounts] = field(default_factory=dict)
    """the same before calibration"""
    amounts: dict[str, AmountCounts] = field(default_factory=dict)
    """task whose answer is an amount or a count -> what was predicted and what came"""
    types: TypeCounts | None = None

    @property
    def targets(self) -> int:
        """Next-item targets."""
        return 0 if self.ranks_GK is None else int(self.ranks_GK.sum())
