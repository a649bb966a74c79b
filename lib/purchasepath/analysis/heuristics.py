"""Rules of thumb that share conversions among the states of a path: first, last and linear touch.

They are what marketing reports usually show, and what the removal effects of `attribution` are compared
with: a rule looks at converting paths only, the removal effect also at those that did not convert.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class WeightedPath:
    """A path of at least one state, and how many journeys along it converted and did not."""

    states: tuple[str, ...]
    conversions: float = 0.0
    nulls: float = 0.0


def first_touch(paths: Iterable[WeightedPath]) -> dict[str, float]:
    """Conversions by the state where their paths began."""
    credit = defaultdict[str, float](float)
    for path in paths:
        credit[path.states[0]] += path.conversions
    return dict(credit)


def last_touch(paths: Iterable[WeightedPath]) -> dict[str, float]:
    """Conversions by the last state before them."""
    credit = defaultdict[str, float](float)
    for path in paths:
        credit[path.states[-1]] += path.conversions
    return dict(credit)


def linear_touch(paths: Iterable[WeightedPath]) -> dict[str, float]:
    """Conversions shared equally among all touches of their path; a state touched twice gets two parts."""
    credit = defaultdict[str, float](float)
    for path in paths:
        for state in path.states:
            credit[state] += path.conversions / len(path.states)
    return dict(credit)
