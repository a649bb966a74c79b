"""What one model answered on the test split."""

from __future__ import annotations

from dataclasses import dataclass, field

from purchasepath.scoring.measures import PurchaseCounts


@dataclass
class Answers:
    """Counts, from which the metrics are made."""

    ranks: dict[int, int] = field(default_factory=dict)
    """rank -> next-item targets; the largest cut-off + 1 stands for everything beyond"""
    shown: dict[int, int] = field(default_factory=dict)
    """k -> different items among the first k shown at any target"""
    purchases: PurchaseCounts | None = None
