"""Removal effects: by hand, against removal by brute force, against simulated paths."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from purchasepath.analyses.removal_effects import (
    REMOVAL_EFFECTS,
    RemovalEffect,
    effects_frame,
    effects_of_events,
    most_decisive,
    removal_effects,
    with_intervals,
)
from purchasepath.analyses.transitions import TRANSITIONS, summarize_transitions, transitions_by_bucket
from purchasepath.scoring.intervals import BUCKETS, REPLICATES, poisson_weights
from purchasepath.tables.catalog import SESSIONS


def conversion_without(transitions: dict[tuple[str, str], float], removed: str | None) -> float:
    """Probability of a purchase when every path that gets to `removed` leaves there, by iterating the chain."""
    states = sorted({s for s, _ in transitions})
    totals: dict[str, float] = defaultdict(float)
    for (source, _), count in transitions.items():
        totals[source] += count
    value = dict.fromkeys(states, 0.0)
    for _ in range(20_000):
        change = 0.0
        for state in states:
            if state == removed:
                continue
            new = sum(count / totals[state] * (1.0 if target == "purchase" else value.get(target, 0.0))
                      for (source, target), count in transitions.items() if source == state)
            change = max(change, abs(new - value[state]))
            value[state] = new
        if change < 1e-13:
            break
    return value["start"]


@st.composite
def chains(draw: st.DrawFn) -> dict[tuple[str, str], float]:
    states = ["a", "b", "c", "d"][: draw(st.integers(1, 4))]
    count = st.integers(0, 9)
    chain: dict[tuple[str, str], float] = {("start", s): draw(st.integers(1, 9)) for s in states}
    for source in states:
        chain[source, "leave"] = draw(st.integers(1, 9))  # every state can end
        for target in [*states, "purchase"]:
            chain[source, target] = draw(count)
    return chain


def test_effects_of_a_chain_solved_by_hand() -> None:
    # half of all sessions view, half search; a view is bought after with 1/2, a search leads to a view with 1/4
    effects = {e.state: e for e in removal_effects({
        ("start", "view"): 2, ("start", "search"): 2, ("view", "purchase"): 1, ("view", "leave"): 1,
        ("search", "view"): 1, ("search", "leave"): 3,
    })}
    assert effects["view"].reach_probability == pytest.approx(5 / 8)
    assert effects["view"].conversion_probability == pytest.approx(1 / 2)
    assert effects["view"].removal_effect == pytest.approx(1.0)
    assert effects["search"].reach_probability == pytest.approx(1 / 2)
    assert effects["search"].conversion_probability == pytest.approx(1 / 8)
    assert effects["search"].removal_effect == pytest.approx(1 / 5)


@settings(max_examples=40, deadline=None)
@given(chains())
def test_closed_form_equals_removing_each_state_and_solving_again(chain: dict[tuple[str, str], float]) -> None:
    whole = conversion_without(chain, None)
    for effect in removal_effects(chain):
        expected = 1 - conversion_without(chain, effect.state) / whole if whole > 0 else 0.0
        assert effect.removal_effect == pytest.approx(expected, abs=1e-8)


@settings(max_examples=20, deadline=None)
@given(chains(), st.integers(1, 50))
def test_repeats_of_a_state_do_not_matter(chain: dict[tuple[str, str], float], repeats: int) -> None:
    more = {pair: count + repeats * (pair[0] == pair[1]) for pair, count in chain.items()}
    for effect, same in zip(removal_effects(chain), removal_effects(more), strict=True):
        assert effect.removal_effect == pytest.approx(same.removal_effect, abs=1e-9)


def test_closed_form_agrees_with_simulated_paths() -> None:
    chain = {("start", "ad"): 5.0, ("start", "search"): 5.0, ("ad", "search"): 4.0, ("ad", "leave"): 5.0,
             ("ad", "purchase"): 1.0, ("search", "ad"): 2.0, ("search", "purchase"): 3.0, ("search", "leave"): 5.0}
    chance = random.Random(1)
    bought = Counter[str]()
    num_bought = 0
    for _ in range(20_000):
        state, visited = "start", set()
        while state not in ("purchase", "leave"):
            visited.add(state)
            targets = [(t, w) for (s, t), w in chain.items() if s == state]
            state = chance.choices([t for t, _ in targets], [w for _, w in targets])[0]
        if state == "purchase":
            num_bought += 1
            bought.update(visited)
    for effect in removal_effects(chain):
        share = bought[effect.state] / num_bought
        error = (share * (1 - share) / num_bought) ** 0.5
        assert effect.removal_effect == pytest.approx(share, abs=4 * error)


def surely(effects: list[RemovalEffect]) -> list[RemovalEffect]:
    """The same effects, measured on so many visitors that nothing is chance."""
    excess = {e.state: e.removal_effect - e.reach_probability for e in effects}
    return [replace(e, excess_low=excess[e.state], excess_high=excess[e.state]) for e in effects]


def test_what_decides_is_passed_by_most_purchases_and_few_sessions() -> None:
    effects = removal_effects({("start", "view"): 10, ("view", "cart"): 2, ("view", "leave"): 7,
                               ("view", "purchase"): 1, ("cart", "purchase"): 2})
    assert [e.state for e in effects] == ["view", "cart"]
    assert (decisive := most_decisive(surely(effects))) is not None
    assert decisive.state == "cart"
    assert most_decisive(surely(removal_effects({("start", "view"): 3, ("view", "leave"): 3}))) is None


@pytest.mark.parametrize("low", [None, -0.1, 0.0])
def test_no_step_decides_where_that_may_be_chance(low: float | None) -> None:
    assert most_decisive([RemovalEffect("cart", 0.2, 0.5, 0.7, low, 0.6)]) is None


def test_a_step_that_every_purchase_passes_does_not_decide() -> None:
    chain = {("start", "view"): 20, ("view", "search"): 4, ("view", "cart"): 2, ("view", "leave"): 14,
             ("search", "cart"): 3, ("search", "leave"): 1, ("cart", "checkout"): 5, ("checkout", "purchase"): 4,
             ("checkout", "leave"): 1}
    assert (decisive := most_decisive(surely(removal_effects(chain)))) is not None
    assert decisive.state == "search"
    # a checkout does not either where some purchases are logged without one
    chain |= {("cart", "purchase"): 2}
    found = {e.state: e for e in surely(removal_effects(chain))}
    assert found["checkout"].removal_effect < 0.9
    assert (decisive := most_decisive(found.values())) is not None
    assert decisive.state == "search"


def test_the_interval_of_a_step_is_that_of_resampled_visitors(spark: SparkSession) -> None:
    walks = ["view cart purchase", "view purchase", "view cart", "view", "search view", "search cart purchase"]
    rows = [{"session_id": str(n), "user_id": f"u{n}", "event_types": walks[n % 6 if n % 5 else 3].split(),
             "offsets_us": [0] * 3} for n in range(120)]
    sessions = SESSIONS.frame(spark, rows)
    by_bucket = transitions_by_bucket(sessions).collect()
    weights = poisson_weights(REPLICATES, BUCKETS)
    excess: dict[str, list[float]] = defaultdict(list)
    for replicate in range(REPLICATES):
        counts: dict[tuple[str, str], float] = defaultdict(float)
        for row in by_bucket:
            counts[row.from_state, row.to_state] += weights[replicate, row.bucket] * row.transitions
        for effect in removal_effects(counts):
            excess[effect.state].append(effect.removal_effect - effect.reach_probability)

    effects = effects_of_events(summarize_transitions(sessions))
    found = with_intervals(effects, transitions_by_bucket(sessions.repartition(7)))

    assert {e.state for e in found} == {"view", "cart", "search"}
    for effect in found:
        assert (effect.excess_low, effect.excess_high) == pytest.approx(
            tuple(np.percentile(excess[effect.state], [2.5, 97.5])), abs=1e-9)
        assert effect.excess_low is not None
        assert effect.excess_low < effect.removal_effect - effect.reach_probability < (effect.excess_high or 0)


def test_nothing_bought_means_no_effect_and_no_sessions_no_rows() -> None:
    assert [e.removal_effect for e in removal_effects({("start", "view"): 3, ("view", "leave"): 3})] == [0.0]
    assert removal_effects({}) == []


def test_table_holds_every_event_type_but_the_purchase(spark: SparkSession) -> None:
    transitions = TRANSITIONS.frame(spark, [
        {"from_state": "start", "to_state": "view", "transitions": 4},
        {"from_state": "view", "to_state": "purchase", "transitions": 1},
        {"from_state": "view", "to_state": "leave", "transitions": 3}])
    frame = effects_frame(spark, effects_of_events(transitions))
    assert REMOVAL_EFFECTS.differences(frame) == []
    assert [tuple(r) for r in frame.collect()] == [("view", 1.0, 0.25, 1.0, None, None)]
