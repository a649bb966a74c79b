"""Removal effects: the share of purchases that goes through each event, by a first-order absorbing Markov chain.

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

from purchasepath.analyses.analysis import Analysis, Findings, Inputs
from purchasepath.analyses.transitions import TRANSITIONS, transitions_by_bucket
from purchasepath.analyses.walks import PURCHASE, START
from purchasepath.report import figures, wording
from purchasepath.report.panels import Content, Panel, Query, Row
from purchasepath.report.wording import percent
from purchasepath.scoring.intervals import BUCKETS, interval, resample
from purchasepath.tables.catalog import SESSIONS
from purchasepath.tables.types import Column as C
from purchasepath.tables.types import Table

BY_CONSTRUCTION = ("checkout",)
"""Steps that belong to buying itself."""
EVERY_PURCHASE = 0.99
"""A step that more of the purchases than this pass is part of every purchase, and none that could decide one."""

REMOVAL_EFFECTS = Table(
    "removal_effects",
    "path state",
    "analyze",
    (
        C("state", "string", "event type"),
        C("reach_probability", "double", "probability that a session ever gets to the state"),
        C("conversion_probability", "double", "probability of a purchase from the state on"),
        C("removal_effect", "double", "share of purchases lost if every path ended at the state"),
        C("excess_low", "double", "lower end of the 95 % interval of removal_effect - reach_probability, from "
                                  "resampling visitors; null where it hangs on too few", nullable=True),
        C("excess_high", "double", "upper end", nullable=True),
    ),
    key=("state",),
)


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


def _run(inputs: Inputs) -> Findings:
    sessions, transitions = inputs.read(SESSIONS), inputs.read(TRANSITIONS)
    effects = with_intervals(effects_of_events(transitions), transitions_by_bucket(sessions))
    decisive = most_decisive(effects)
    lines = [f"the step that decides is {decisive.state}: {decisive.reach_probability:.1%} of the sessions get "
             f"there, {decisive.removal_effect:.1%} of the purchases go through it (95 %: "
             f"{decisive.excess_low:+.1%} to {decisive.excess_high:+.1%})"] if decisive else []
    return Findings({REMOVAL_EFFECTS: effects_frame(sessions.sparkSession, effects)}, lines)


QUERY = Query((REMOVAL_EFFECTS,), """
SELECT state, reach_probability, conversion_probability, removal_effect, excess_low, excess_high
FROM removal_effects
ORDER BY removal_effect DESC, state
""")


def _draw(rows: Sequence[Row]) -> Content:
    effects = [RemovalEffect(**row) for row in rows]
    decisive = most_decisive(effects)
    passed = sorted(e.state for e in effects if e.state in BY_CONSTRUCTION or e.removal_effect >= EVERY_PURCHASE)
    beside = f" beside what belongs to every purchase ({', '.join(passed)})" if passed else ""
    if decisive is None:
        reading = (f"No step{beside} is passed more often on the way to a purchase than by sessions in general, by "
                   f"more than could be chance.")
    else:
        low, high = ((end or 0.0) * 100 for end in (decisive.excess_low, decisive.excess_high))
        reading = (f"The step that decides{beside} is {decisive.state}: {percent(decisive.reach_probability)} of the "
                   f"sessions get there, but {percent(decisive.removal_effect)} of the purchases would be lost "
                   f"if they left at that point ({low:.1f} to {high:.1f} points more, at 95{wording.NBSP}%).")
    return Content(reading, _figure(rows),
                   hint="Removal effects of a first-order Markov chain of the events, solved exactly: what share of "
                        "purchases is lost if every session that gets to a step leaves there.")


def _figure(rows: Sequence[Row]) -> figures.Figure:
    """Two bars per state: sessions that get there, purchases that go through it."""
    rows = list(reversed(rows))
    states = [row["state"] for row in rows]

    def bars(column: str, label: str, shade: str) -> figures.Trace:
        values = [row[column] for row in rows]
        return figures.trace("bar", y=states, x=values, name=label, orientation="h", marker_color=shade,
                             cliponaxis=False, text=[wording.percent(value) for value in values],
                             textposition="outside", hovertemplate="%{y}: %{x:.1%}<extra></extra>")

    return figures.figure([bars("reach_probability", "sessions that get there", "var(--leave)"),
                           bars("removal_effect", "purchases that would be lost", "var(--purchase)")],
                          110 + 56 * len(rows), barmode="group", bargap=0.3, legend={"traceorder": "reversed"},
                          xaxis={"range": [0, 1.14], "tickvals": [0, 0.25, 0.5, 0.75, 1], "tickformat": ",.0%"},
                          yaxis=figures.CATEGORIES)


ANALYSIS = Analysis("removal_effects", (
    Panel("removal-effects", "Which steps lead to a purchase", QUERY, _draw),), (REMOVAL_EFFECTS,), _run)
