"""The path model of the synthetic shop: states, base transition matrix and stated effects.

A session starts in `start` (or `start_with_cart`, when an earlier cart was left behind) and walks from state to
state until `leave`. The base matrix holds for a neutral visitor; every effect multiplies the weight of one
transition by exp(log_odds * factor), after which the row is normalised again. Where an effect is the only one of
its row, the odds of that transition therefore change by exactly `log_odds` per unit of the factor.
Churn follows the same rule from the state `session_end`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

Matrix = Mapping[str, Mapping[str, float]]

BASE_MATRIX: Matrix = {
    "start": {"search": 0.34, "category": 0.26, "view": 0.40},
    "start_with_cart": {"search": 0.12, "category": 0.08, "view": 0.53, "checkout": 0.22, "remove": 0.05},
    "search": {"search": 0.12, "category": 0.06, "view": 0.72, "leave": 0.10},
    "category": {"search": 0.07, "category": 0.10, "view": 0.74, "leave": 0.09},
    "view": {"search": 0.08, "category": 0.06, "view": 0.740, "cart": 0.010, "leave": 0.11},
    "cart": {"search": 0.06, "category": 0.04, "view": 0.30, "remove": 0.08, "checkout": 0.30, "leave": 0.22},
    "remove": {"search": 0.12, "category": 0.10, "view": 0.48, "leave": 0.30},
    "checkout": {"view": 0.08, "remove": 0.06, "purchase": 0.60, "leave": 0.26},
    "purchase": {"search": 0.03, "view": 0.12, "leave": 0.85},
    "session_end": {"come_back": 0.80, "churn": 0.20},
}


@dataclass(frozen=True)
class Effect:
    """`log_odds` is added to the transition's log-weight per unit of `factor`."""

    from_state: str
    to_state: str
    factor: str
    log_odds: float
    meaning: str


EFFECTS: tuple[Effect, ...] = (
    Effect("view", "cart", "price", -0.40, "per standard deviation of log(price) over the catalogue"),
    Effect("view", "cart", "promotion", 0.80, "the item's category is on promotion that day"),
    Effect("view", "cart", "channel_email", 0.50, "the session came by email"),
    Effect("view", "cart", "channel_ad", -0.40, "the session came by an ad"),
    Effect("view", "leave", "channel_ad", 0.40, "the session came by an ad"),
    Effect("view", "cart", "propensity", 0.40, "per standard deviation of the visitor's wish to buy"),
    Effect("view", "cart", "focused", 2.60, "the visitor is comparing one category, not just looking around"),
    Effect("view", "cart", "recent_purchase", -1.00, "the visitor bought within the last 7 days"),
    Effect("cart", "checkout", "focused", 0.80, "as above"),
    Effect("checkout", "purchase", "propensity", 0.40, "as above"),
    Effect("checkout", "purchase", "promotion", 0.30, "something in the cart is on promotion"),
    Effect("start_with_cart", "checkout", "propensity", 0.40, "as above"),
    Effect("session_end", "churn", "purchased", -0.70, "the session had a purchase"),
    Effect("session_end", "churn", "cart_left", -0.80, "the session left something in the cart"),
    Effect("session_end", "churn", "channel_ad", 0.40, "the session came by an ad"),
    Effect("session_end", "churn", "focused", -1.50, "as above"),
    Effect("session_end", "churn", "bounced", 1.80, "the session had one or two events only"),
)


class PathModel:
    """Draws the next state; effects on transitions that the matrix does not have are errors."""

    def __init__(self, matrix: Matrix = BASE_MATRIX, effects: tuple[Effect, ...] = EFFECTS) -> None:
        for state, row in matrix.items():
            if not math.isclose(sum(row.values()), 1, abs_tol=1e-9):
                raise ValueError(f"the row of state {state} sums to {sum(row.values())}, not 1")
        self.matrix = matrix
        self.effects = effects
        self._states = {state: tuple(row) for state, row in matrix.items()}
        self._weights = {state: tuple(row.values()) for state, row in matrix.items()}
        self._shifts: dict[str, list[tuple[int, str, float]]] = {state: [] for state in matrix}
        for effect in effects:
            target = self._states[effect.from_state].index(effect.to_state)
            self._shifts[effect.from_state].append((target, effect.factor, effect.log_odds))

    def probabilities(self, state: str, factors: Mapping[str, float]) -> dict[str, float]:
        """The row of `state` for a visitor in whom `factors` hold (absent factors are 0); sums to 1."""
        weights = self._shifted(state, factors)
        total = sum(weights)
        return {to: weight / total for to, weight in zip(self._states[state], weights, strict=True)}

    def next_state(self, state: str, factors: Mapping[str, float], uniform: float) -> str:
        """The state that `uniform` in [0, 1) falls on when the row of `state` is laid out from 0 to 1."""
        weights = self._shifted(state, factors)
        left = uniform * sum(weights)
        for to, weight in zip(self._states[state], weights, strict=True):
            left -= weight
            if left < 0:
                return to
        return self._states[state][-1]  # rounding at the very end of the row

    def _shifted(self, state: str, factors: Mapping[str, float]) -> list[float]:
        weights = list(self._weights[state])
        for target, factor, log_odds in self._shifts[state]:
            value = factors.get(factor)
            if value:
                weights[target] *= math.exp(log_odds * value)
        return weights
