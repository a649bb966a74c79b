"""How often each question of `model.predicts` is asked in a split, and how often the answer is yes.

A head learns from answers that differ. One that has met a single answer gives that answer to everybody, with great
confidence: a purchase probability of 0.0000000002 of a shop whose log holds no purchase. Such heads are not trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyspark.sql.functions as F
from pyspark.sql import Column

from purchasepath.datasets.manifest import CONTEXT, NO_PURCHASE_FOLLOWS, PURCHASE_FOLLOWS, Asked
from purchasepath.errors import UserError

FEW = 20
"""What is learned from fewer answers of a kind, or measured on them, is mostly chance."""


class NothingToLearnError(UserError):
    """The training span answers none of the questions that the model is to learn, or all of them in one way."""


def asked_columns() -> dict[str, Column]:
    """Sums over rows of EXAMPLES: `<question>_places` and, of yes-or-no questions, `<question>_yes`."""
    ours = F.filter("outcome", lambda outcome: outcome > CONTEXT)
    last_is_ours = (F.element_at("outcome", -1) > CONTEXT).cast("int")
    return {
        "item_places": F.sum(F.size(F.filter("target", lambda target: target > 0))),
        "purchase_places": F.sum(F.size("bought")),
        "purchase_yes": F.sum(F.size(F.filter("bought", lambda bought: bought == 1))),
        "session_places": F.sum(F.size(F.filter("outcome", lambda outcome: outcome >= NO_PURCHASE_FOLLOWS))),
        "session_yes": F.sum(F.size(F.filter("outcome", lambda outcome: outcome == PURCHASE_FOLLOWS))),
        "churn_places": F.sum(F.size("churned")),
        "churn_yes": F.sum(F.size(F.filter("churned", lambda churned: churned == 1))),
        "next_type_places": F.sum(F.size(ours) - last_is_ours),
    }


def read_asked(sums: Mapping[str, int]) -> dict[str, Asked]:
    """By question, from the values of `asked_columns`."""
    questions = [name.removesuffix("_places") for name in sums if name.endswith("_places")]
    return {q: Asked(sums[f"{q}_places"], sums.get(f"{q}_yes")) for q in questions}


def learnable(predicts: Sequence[str], in_train: Mapping[str, Asked]) -> tuple[tuple[str, ...], list[str]]:
    """Those of `predicts` that the training span teaches, and a line for each one that it does not.

    Raises NothingToLearnError where it teaches none of them. Questions that are not counted are taken to be taught.
    """
    left = {q: in_train[q] for q in predicts if q in in_train and not in_train[q].teaches}
    told = [f"{q} is left out of the model: {_why(asked)}" for q, asked in left.items()]
    kept = tuple(q for q in predicts if q not in left)
    if not kept:
        others = [q for q, asked in in_train.items() if asked.teaches]
        raise NothingToLearnError("\n".join([
            f"model.predicts=[{','.join(predicts)}] asks for nothing that can be learned from the training span:",
            *(f"  - {q}: {_why(asked)}" for q, asked in left.items()),
            f"train another question: --set model.predicts=[{','.join(others)}]" if others else
            "give more data, or change dataset.horizon_hours, dataset.valid_hours and dataset.test_hours",
        ]))
    return kept, told


def few_answers(learned: Sequence[str], asked: Mapping[str, Mapping[str, Asked]]) -> list[str]:
    """A line for each split and question of `learned` that has fewer than FEW answers of a kind."""
    return [
        f"few answers: {question} in {split} has {_count(found)}; what is "
        f"{'learned from' if split == 'train' else 'measured on'} fewer than {FEW} is mostly chance"
        for split, questions in asked.items() for question, found in questions.items()
        if question in learned and found.rarest < FEW
    ]


def _count(asked: Asked) -> str:
    return f"{asked.places:,} places" if asked.yes is None else f"{asked.yes:,} yes in {asked.places:,} places"


def _why(asked: Asked) -> str:
    if not asked.places:
        return "it is never asked in the training span"
    return f"the answer is {'yes' if asked.yes else 'no'} at all of its {asked.places:,} places in the training span"
