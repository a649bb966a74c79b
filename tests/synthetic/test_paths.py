"""The path model: rows are probabilities, and an effect changes the odds by what it says."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from purchasepath.synthetic.paths import BASE_MATRIX, EFFECTS, Effect, PathModel


def odds(probability: float) -> float:
    return probability / (1 - probability)


def test_without_factors_the_row_is_the_base_row() -> None:
    for state, row in BASE_MATRIX.items():
        assert PathModel().probabilities(state, {}) == pytest.approx(dict(row))


@given(st.sampled_from(EFFECTS), st.floats(-2, 2))
def test_an_effect_alone_shifts_the_log_odds_by_exactly_its_size_per_unit(effect: Effect, factor: float) -> None:
    row = PathModel(effects=(effect,)).probabilities(effect.from_state, {effect.factor: factor})
    base = BASE_MATRIX[effect.from_state][effect.to_state]
    shift = math.log(odds(row[effect.to_state]) / odds(base))
    assert shift == pytest.approx(effect.log_odds * factor, abs=1e-9)


@given(st.sampled_from(sorted(BASE_MATRIX)), st.floats(0, 1, exclude_max=True))
def test_the_next_state_is_where_the_number_falls_on_the_row(state: str, uniform: float) -> None:
    factors = {"price": 1.0, "focused": 1.0, "channel_ad": 1.0}
    model, reached = PathModel(), 0.0
    chosen = model.next_state(state, factors, uniform)
    for to, probability in model.probabilities(state, factors).items():
        if to == chosen:
            assert reached - 1e-9 <= uniform <= reached + probability + 1e-9
        reached += probability
    assert reached == pytest.approx(1)


def test_a_row_that_does_not_sum_to_one_is_refused() -> None:
    with pytest.raises(ValueError, match="state start sums to"):
        PathModel({"start": {"view": 0.9}}, effects=())


def test_an_effect_on_a_transition_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError):
        PathModel(effects=(Effect("search", "purchase", "price", 1.0, ""),))
