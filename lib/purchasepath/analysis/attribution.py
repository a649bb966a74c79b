"""What each state of a path is worth: removal effects of a first-order absorbing Markov chain.

With Q the probabilities between the states that a path can leave again, r those of converting next, and
N = (I - Q)^-1 (N[i, j]: expected visits to j of a path that is at i):

    p   = N r                 probability of a conversion from each state on
    f_c = N[s, c] / N[c, c]   probability that a path from the start s ever gets to c
    RE_c = f_c p_c / p_s      share of the conversions that go through c

Removing c means that every path that gets there ends without a conversion, so exactly the conversions
through c are lost: one linear solve gives all effects, without simulating paths and without noise.
A state's transitions to itself change neither p nor f, so counting or collapsing repeats is the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from pyspark.sql import DataFrame, SparkSession

from purchasepath.analysis.paths import PURCHASE
from purchasepath.analysis.transitions import START
from purchasepath.tables.catalog import REMOVAL_EFFECTS


@dataclass(frozen=True)
class RemovalEffect:
    """One state's part in the conversions; all three are probabilities."""

    state: str
    reach_probability: float
    conversion_probability: float
    removal_effect: float


def removal_effects(
    transitions: Mapping[tuple[str, str], float], *, start: str = START, goal: str = PURCHASE
) -> list[RemovalEffect]:
    """The effect of removing each state, strongest first, from counts (or probabilities) of transitions.

    States that nothing leaves are absorbing: `goal` is the conversion, any other one is not. Every path
    must end in an absorbing state, as counted paths do. Ties are ordered by name.
    """
    weights = defaultdict[str, float](float)
    for (source, _), count in transitions.items():
        weights[source] += count
    states = sorted(state for state, weight in weights.items() if weight > 0)
    if start not in states:
        return []
    at = {state: i for i, state in enumerate(states)}
    stay_SS = np.zeros((len(states), len(states)))  # S: states that a path leaves again, the start among them
    convert_S = np.zeros(len(states))
    for (source, target), count in transitions.items():
        if count <= 0:
            continue
        if target in at:
            stay_SS[at[source], at[target]] += count / weights[source]
        elif target == goal:
            convert_S[at[source]] += count / weights[source]

    identity_SS = np.eye(len(states))
    visits_SS = np.linalg.solve(identity_SS - stay_SS, identity_SS)
    conversion_S = visits_SS @ convert_S
    reach_S = visits_SS[at[start]] / np.diag(visits_SS)
    conversion_of_all = conversion_S[at[start]]
    share_S = reach_S * conversion_S / conversion_of_all if conversion_of_all > 0 else np.zeros(len(states))
    effects = [
        RemovalEffect(state, float(reach_S[i]), float(conversion_S[i]), float(share_S[i]))
        for state, i in at.items() if state != start
    ]
    return sorted(effects, key=lambda effect: (-effect.removal_effect, effect.state))


def most_decisive(effects: Iterable[RemovalEffect]) -> RemovalEffect | None:
    """The state that most purchases and few sessions pass; None where no state is passed more by purchases.

    The largest effect alone would name the view, which nearly every path begins with.
    """
    best = max(effects, key=lambda e: (e.removal_effect - e.reach_probability, e.state), default=None)
    return best if best and best.removal_effect > best.reach_probability else None


def effects_of_events(transitions: DataFrame) -> list[RemovalEffect]:
    """The removal effect of each event type, from TRANSITIONS.

    The transitions are collected: there are at most as many as pairs of event types.
    """
    pairs = transitions.select("from_state", "to_state", "transitions").collect()
    return removal_effects({(source, target): float(count) for source, target, count in pairs})


def effects_frame(spark: SparkSession, effects: Iterable[RemovalEffect]) -> DataFrame:
    """The effects as REMOVAL_EFFECTS."""
    return REMOVAL_EFFECTS.frame(spark, map(asdict, effects))
