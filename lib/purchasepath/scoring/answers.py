"""What one model answered on the test split."""

from __future__ import annotations

from dataclasses import dataclass, field

from purchasepath.scoring.measures import BinaryCounts


@dataclass(frozen=True)
class TypeCounts:
    """Answers to the next event's type."""

    places: int
    hits: int
    """places where the right type was the likeliest"""
    nats: float
    """sum of -log of the probability given to the right type"""


@dataclass
class Answers:
    """Counts, from which the metrics are made."""

    ranks: dict[int, int] | None = None
    """rank -> next-item targets; the largest cut-off + 1 stands for everything beyond; None: not asked"""
    cold: dict[int, int] | None = None
    """the same of the targets without a history on the train span"""
    shown: dict[int, int] = field(default_factory=dict)
    """k -> different items among the first k shown at any target"""
    binary: dict[str, BinaryCounts] = field(default_factory=dict)
    """yes-or-no question -> its probabilities"""
    raw: dict[str, BinaryCounts] = field(default_factory=dict)
    """the same before calibration"""
    types: TypeCounts | None = None
