"""What each state of a path is worth: removal effects of a first-order absorbing Markov chain.

With Q the probabilities between the states that a path can leave again, r those of converting next, and
N = (I - Q)^-1 (N[i, j]: expected visits to j of a path that is at i):

    p   = N r                 probability of a conversion from each state on
    f_c = N[s, c] / N[c, c]   probability that a path from the start s ever gets to c
    RE_c = f_c p_c / p_s      share of the conversions that go through c

Removing c means that every path that gets there ends without a conversion, so exactly the conversions
through c are lost: one linear solve gives all effects, without simulating paths and without noise.
A state's transitions to itself change neither p nor f, so counting or collapsing repeats is the same.

Legend: S states that a path leaves again, T those and the two ways to end, G buckets of visitors, R samples of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from pyspark.sql import DataFrame, SparkSession

from purchasepath.analysis.paths import PURCHASE
from purchasepath.analysis.transitions import START
from purchasepath.scoring.intervals import BUCKETS, interval, resample
from purchasepath.tables.catalog import REMOVAL_EFFECTS

BY_CONSTRUCTION = ("checkout",)
"""Steps that belong to buying itself."""
EVERY_PURCHASE = 0.99
"""A step that more of the purchases than this pass is part of every purchase, and none that could decide one."""


@dataclass(frozen=True)
class RemovalEffect:
    """One state's part in the conversions: probabilities, and the 95 % interval of effect - reach."""

    state: str
    reach_probability: float
    conversion_probability: float
    removal_effect: float
    excess_low: float | None = None
    excess_high: float | None = None


def removal_effects(
    transitions: Mapping[tuple[str, str], float], *, start: str = START, goal: str = PURCHASE
) -> list[RemovalEffect]:
    """The effect of removing each state, strongest first, from counts (or probabilities) of transitions.

    States that nothing leaves are absorbing: `goal` is the conversion, any other one is not. Every path
    must end in an absorbing state, as counted paths do. Ties are ordered by name.
    """
    counted = {pair: count for pair, count in transitions.items() if count > 0}
    states = sorted({source for source, _ in counted})
    if start not in states:
        return []
    chain = _Chain(states, start, goal)
    counts_ST = np.zeros(chain.shape)
    for pair, count in counted.items():
        counts_ST[chain.place(*pair)] += count
    reach_S, conversion_S, share_S = chain.solve(counts_ST)
    effects = [
        RemovalEffect(state, float(reach_S[i]), float(conversion_S[i]), float(share_S[i]))
        for i, state in enumerate(states) if state != start
    ]
    return sorted(effects, key=lambda effect: (-effect.removal_effect, effect.state))


def with_intervals(effects: Iterable[RemovalEffect], by_bucket: DataFrame) -> list[RemovalEffect]:
    """`effects` with the interval of removal effect - reach, from `transitions_by_bucket` of the same sessions."""
    rows = by_bucket.toArrow().to_pylist()  # at most BUCKETS x pairs of event types
    states = sorted({row["from_state"] for row in rows})
    if START not in states:
        return list(effects)
    chain = _Chain(states, START, PURCHASE)
    counts_GST = np.zeros((BUCKETS, *chain.shape))
    for row in rows:
        counts_GST[row["bucket"], *chain.place(row["from_state"], row["to_state"])] += row["transitions"]
    counts_RST = resample(counts_GST.reshape(BUCKETS, -1)).reshape(-1, *chain.shape)
    reach_RS, _, share_RS = chain.solve(counts_RST)
    found = dict(zip(states, map(interval, (share_RS - reach_RS).T), strict=True))
    return [replace(effect, excess_low=low, excess_high=high)
            for effect in effects for low, high in [found[effect.state]]]


class _Chain:
    """States that a path leaves again, the start among them, as rows; they, the goal and any other end as columns."""

    def __init__(self, states: Sequence[str], start: str, goal: str) -> None:
        self.size, self.at, self.start = len(states), {state: i for i, state in enumerate(states)}, states.index(start)
        self.goal, self.shape = goal, (self.size, self.size + 2)

    def place(self, source: str, target: str) -> tuple[int, int]:
        """Where the transition's count stands."""
        return self.at[source], self.at.get(target, self.size + (target != self.goal))

    def solve(self, counts_RST: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """reach_RS, conversion_RS, share_RS; a state that no path leaves in a sample is never reached there."""
        out_RS1 = counts_RST.sum(axis=-1, keepdims=True)
        step_RST = counts_RST / np.where(out_RS1 > 0, out_RS1, 1.0)
        visits_RSS = np.linalg.inv(np.eye(self.size) - step_RST[..., : self.size])
        conversion_RS = (visits_RSS @ step_RST[..., self.size, None])[..., 0]
        reach_RS = visits_RSS[..., self.start, :] / np.diagonal(visits_RSS, axis1=-2, axis2=-1)
        of_all_R1 = conversion_RS[..., self.start, None]
        share_RS = reach_RS * conversion_RS / np.where(of_all_R1 > 0, of_all_R1, 1.0)
        return reach_RS, conversion_RS, share_RS


def most_decisive(effects: Iterable[RemovalEffect]) -> RemovalEffect | None:
    """The state that most purchases and few sessions pass; None where that of no state is more than chance.

    Left out are steps that every purchase passes, such as the checkout: they cannot tell purchases apart. The largest
    effect alone would name the view, which nearly every path begins with.
    """
    telling = [e for e in effects if e.state not in BY_CONSTRUCTION and e.removal_effect < EVERY_PURCHASE
               and e.excess_low is not None and e.excess_low > 0]
    return max(telling, key=lambda e: (e.removal_effect - e.reach_probability, e.state), default=None)


def effects_of_events(transitions: DataFrame) -> list[RemovalEffect]:
    """The removal effect of each event type, from TRANSITIONS.

    The transitions are collected: there are at most as many as pairs of event types.
    """
    pairs = transitions.select("from_state", "to_state", "transitions").collect()
    return removal_effects({(source, target): float(count) for source, target, count in pairs})


def effects_frame(spark: SparkSession, effects: Iterable[RemovalEffect]) -> DataFrame:
    """The effects as REMOVAL_EFFECTS."""
    return REMOVAL_EFFECTS.frame(spark, map(asdict, effects))
