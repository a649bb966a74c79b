"""Every prediction as data: what is asked, of whom and when, and what the right answer is.

A task is one line below. At an as-of time t the right answer is an input of the features, added up over
[t, t + horizon): a feature that looks forward, from the same tiles. What is done with a task hangs on its kind alone:

    kind      the answer                       asked
    BINARY    yes (1) or no (0)                at as-of times, or after an event
    AMOUNT    a sum of money, mostly 0         at as-of times
    COUNT     0, 1, 2 …                        at as-of times
    CHOICE    one of a few classes             after an event
    RANKING   one item of the vocabulary       after an event
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from purchasepath.tables.features import Feature


class Kind(StrEnum):
    """What an answer is: head, loss, calibration, metrics, baseline, audit, drift and panel follow from it."""

    BINARY = "binary"
    AMOUNT = "amount"
    COUNT = "count"
    CHOICE = "choice"
    RANKING = "ranking"


class At(StrEnum):
    """When a task is asked."""

    EVERY_EVENT = "every_event"  # right after an event
    AS_OF = "as_of"  # at an as-of time of the features


@dataclass(frozen=True)
class Label:
    """`input` over the horizon: `any`: 1 where its sum is not 0, else 0; `none`: the opposite; `sum`: the sum."""

    input: str
    aggregation: Literal["any", "none", "sum"]


@dataclass(frozen=True)
class NextItem:
    """The next event's item, where it has one that is another than this event's."""


@dataclass(frozen=True)
class NextType:
    """The next event's type."""


@dataclass(frozen=True)
class LaterInSession:
    """Whether a purchase follows in the event's session; asked until the first one."""


@dataclass(frozen=True)
class Task:
    """One prediction. `meaning` says what the answer is; "{horizon}" stands for the task's horizon in hours."""

    name: str
    kind: Kind
    at: At
    label: Label | NextItem | NextType | LaterInSession
    title: str
    meaning: str


TASKS: tuple[Task, ...] = (
    Task("item", Kind.RANKING, At.EVERY_EVENT, NextItem(), "Which item comes next", "the next event's item"),
    Task("purchase", Kind.BINARY, At.AS_OF, Label("purchases", "any"), "Who will buy", "a purchase within {horizon} h"),
    Task("session", Kind.BINARY, At.EVERY_EVENT, LaterInSession(), "Which visit ends in a purchase",
         "a purchase later in the running session"),
    Task("churn", Kind.BINARY, At.AS_OF, Label("events", "none"), "Who will leave", "no event within {horizon} h"),
    Task("next_type", Kind.CHOICE, At.EVERY_EVENT, NextType(), "What a visitor does next", "the next event's type"),
    Task("value", Kind.AMOUNT, At.AS_OF, Label("revenue", "sum"), "What a visitor will spend",
         "price x quantity bought within {horizon} h"),
    Task("orders", Kind.COUNT, At.AS_OF, Label("orders", "sum"), "How often a visitor will order",
         "orders (purchases in a row of one instant are one) within {horizon} h"),
    Task("returns", Kind.BINARY, At.AS_OF, Label("returns", "any"), "Who will send something back",
         "a return within {horizon} h"),
)
"""In the order of a model's heads."""

TASK: Mapping[str, Task] = {task.name: task for task in TASKS}
"""By name, as `model.tasks` has it."""

LABELLED: tuple[Task, ...] = tuple(task for task in TASKS if isinstance(task.label, Label))
"""Tasks whose answers are the `labels` of EXAMPLES, in that order."""


LABEL_NAMES: tuple[str, ...] = tuple(task.name for task in LABELLED)

SCORED_TASKS = ("item", *LABEL_NAMES)
"""Tasks that have rows in RECOMMENDATIONS or SCORES."""


def of_kind(*kinds: Kind) -> tuple[str, ...]:
    """Names of the tasks whose answers are of these kinds."""
    return tuple(task.name for task in TASKS if task.kind in kinds)


def label_features() -> tuple[Feature, ...]:
    """What has to be known of a tile for the labels, as features of the user; a sum answers all aggregations."""
    return tuple(Feature(task.name, "user", task.label.input, "sum", None, task.meaning)
                 for task in LABELLED if isinstance(task.label, Label))
