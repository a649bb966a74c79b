"""Whether two shares differ by more than chance: Newcombe's interval of the difference of two shares."""

from __future__ import annotations

from math import hypot, sqrt
from statistics import NormalDist

FEW = 30
"""Shares of fewer cases than this are not called best or worst."""


def surely_apart(more: tuple[int, int], less: tuple[int, int], compared: int) -> bool:
    """Whether two shares, (hits, cases) of the largest and the smallest of `compared`, differ by more than chance.

    Newcombe's interval (1998, method 10) of their difference, at 5 % shared by all pairs (Bonferroni), with cases
    taken for independent.
    """
    z = NormalDist().inv_cdf(1 - 0.025 / (compared * (compared - 1) / 2))
    high, low = ((hits / cases, *wilson(hits, cases, z)) for hits, cases in (more, less))
    return high[0] - low[0] > hypot(high[0] - high[1], low[2] - low[0])


def wilson(hits: int, cases: int, z: float) -> tuple[float, float]:
    """Wilson's interval of a share."""
    middle, spread = hits + z**2 / 2, z * sqrt(hits * (cases - hits) / cases + z**2 / 4)
    return (middle - spread) / (cases + z**2), (middle + spread) / (cases + z**2)
