"""How often each task of `model.tasks` is asked in a split, and how often the answer is yes, or not 0.

A head learns from answers that differ. One that has met a single answer gives that answer to everybody, with great
confidence: a purchase probability of 0.0000000002 of a shop whose log holds no purchase. Such heads are not trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pyspark.sql.functions as F
from pyspark.sql import Column

from purchasepath.datasets.manifest import CONTEXT, NO_PURCHASE_FOLLOWS, PURCHASE_FOLLOWS, Asked
from purchasepath.errors import UserError
from purchasepath.tables.tasks import TASK, TASKS, Kind

FEW = 20
"""What is learned from fewer answers of a kind, or measured on them, is mostly chance."""


class NothingToLearnError(UserError):
    """The training span answers none of the tasks that the model is to learn, or all of them in one way."""


def asked_columns(label_names: Sequence[str]) -> dict[str, Column]:
    """Sums over rows of EXAMPLES: `<task>_places` and, where the answer may be no, or 0, `<task>_yes`."""
    def labels(number: int, condition: Callable[[Column], Column]) -> Column:
        own = F.filter("labels", lambda label, place: F.pmod(place, F.lit(len(label_names))) == number)
        return F.sum(F.size(F.filter(own, condition)))

    ours = F.filter("outcome", lambda outcome: outcome > CONTEXT)
    last_is_ours = (F.element_at("outcome", -1) > CONTEXT).cast("int")
    return {
        "item_places": F.sum(F.size(F.filter("target", lambda target: target > 0))),
        "session_places": F.sum(F.size(F.filter("outcome", lambda outcome: outcome >= NO_PURCHASE_FOLLOWS))),
        "session_yes": F.sum(F.size(F.filter("outcome", lambda outcome: outcome == PURCHASE_FOLLOWS))),
        "next_type_places": F.sum(F.size(ours) - last_is_ours),
        **{f"{name}_places": labels(number, lambda label: ~F.isnan(label)) for number, name in enumerate(label_names)},
        **{f"{name}_yes": labels(number, lambda label: ~F.isnan(label) & (label != 0))
           for number, name in enumerate(label_names)},
    }


def read_asked(sums: Mapping[str, int]) -> dict[str, Asked]:
    """By task, from the values of `asked_columns`."""
    counted = [task.name for task in TASKS if f"{task.name}_places" in sums]
    return {name: Asked(sums[f"{name}_places"], sums.get(f"{name}_yes")) for name in counted}


def learnable(tasks: Sequence[str], in_train: Mapping[str, Asked]) -> tuple[tuple[str, ...], list[str]]:
    """Those of `tasks` that the training span teaches, and a line for each one that it does not.

    Raises NothingToLearnError where it teaches none of them. Tasks that are not counted are taken to be taught.
    """
    left = {q: in_train[q] for q in tasks if q in in_train and not teaches(q, in_train[q])}
    told = [f"{q} is left out of the model: {_why(asked)}" for q, asked in left.items()]
    kept = tuple(q for q in tasks if q not in left)
    if not kept:
        others = [q for q, asked in in_train.items() if teaches(q, asked)]
        raise NothingToLearnError("\n".join([
            f"model.tasks=[{','.join(tasks)}] asks for nothing that can be learned from the training span:",
            *(f"  - {q}: {_why(asked)}" for q, asked in left.items()),
            f"train another task: --set model.tasks=[{','.join(others)}]" if others else
            "give more data, or change dataset.horizon_hours, dataset.valid_hours and dataset.test_hours",
        ]))
    return kept, told


def teaches(task: str, asked: Asked) -> bool:
    """Whether anything can be learned: two answers that differ, a choice to make, or an amount that is not always 0."""
    if asked.yes is None:
        return asked.places > 0
    return 0 < asked.yes < asked.places or (asked.yes > 0 and TASK[task].kind in (Kind.AMOUNT, Kind.COUNT))


def few_answers(learned: Sequence[str], asked: Mapping[str, Mapping[str, Asked]]) -> list[str]:
    """A line for each split and task of `learned` that has fewer than FEW answers of a kind."""
    return [
        f"few answers: {task} in {split} has {_count(found)}; what is "
        f"{'learned from' if split == 'train' else 'measured on'} fewer than {FEW} is mostly chance"
        for split, tasks in asked.items() for task, found in tasks.items()
        if task in learned and found.rarest < FEW
    ]


def _count(asked: Asked) -> str:
    return f"{asked.places:,} places" if asked.yes is None else f"{asked.yes:,} yes in {asked.places:,} places"


def _why(asked: Asked) -> str:
    if not asked.places:
        return "it is never asked in the training span"
    return f"the answer is {'yes' if asked.yes else 'no'} at all of its {asked.places:,} places in the training span"
