"""What is convex is solved, not trained: heads at as-of points begin as the regression on features they contain.

Few points end in a purchase, and gradient steps bring a linear term to its optimum slowly. Newton's method on a sample
of the training points takes seconds; what training adds on top comes from the sequence. All ranks work on their own
share of the same batches and add up their sums, so any number of ranks finds the same weights up to rounding.

    BINARY    logistic
    COUNT     Poisson
    AMOUNT    logistic for whether it is any, linear for the logarithm of one, and how far that is off

Legend: P as-of points, X inputs of the linear term (idle time, user features) and a constant one, A logits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from purchasepath.datasets.batch import batch_from_rows
from purchasepath.models.kinds import width_of
from purchasepath.tables.tasks import Kind
from purchasepath.training.regressions import Family, fit_regression, linear, logistic, poisson

if TYPE_CHECKING:
    from purchasepath.models.heads import PointHead
    from purchasepath.models.tasks import AtPoints
    from purchasepath.training.feed import Feed
    from purchasepath.training.ranks import Ranks

MAX_STEPS = 4096
"""Batches looked at: a sample of a large training split, as batches are drawn at random."""
PRIOR = 25.0
"""Weight of the squared coefficients beside the summed loss (docs/experiments.md): with some hundred points a looser
head says what chance said."""


def start_at_regression(head: PointHead, asked: AtPoints, feed: Feed, ranks: Ranks) -> None:
    """Sets the linear term of `head` to the regression on the training points; leaves it without points."""
    known_PX, answer_P = _gather(head, asked, feed)
    if asked.kind == Kind.COUNT:
        _set_logit(head, 0, poisson, known_PX, answer_P, ranks)
        return
    any_P = (answer_P > 0).double()
    _set_logit(head, 0, logistic, known_PX, any_P, ranks)
    if asked.kind == Kind.AMOUNT:
        paid_PX, log_P = known_PX[answer_P > 0], answer_P[answer_P > 0].log()
        weights_X = _set_logit(head, 1, linear, paid_PX, log_P, ranks)
        squares = ((paid_PX @ weights_X - log_P) ** 2).sum()
        total, paid = ranks.sum_(torch.stack((squares, torch.tensor(float(len(log_P)), dtype=torch.float64)))).tolist()
        with torch.no_grad():
            head.linear.bias[2] = width_of((total / paid) ** 0.5 if paid else 1.0)


def _set_logit(
    head: PointHead, place: int, family: Family, known_PX: Tensor, answer_P: Tensor, ranks: Ranks
) -> Tensor:
    """Fits the linear term of one logit; its weights_X."""
    linear_term = head.linear
    start_X = torch.cat((linear_term.weight[place], linear_term.bias[place : place + 1])).detach().double()
    weights_X = fit_regression(family, known_PX, answer_P, start_X, ranks, prior=PRIOR)
    with torch.no_grad():
        linear_term.weight[place].copy_(weights_X[:-1])
        linear_term.bias[place].copy_(weights_X[-1])
    return weights_X


def _gather(head: PointHead, asked: AtPoints, feed: Feed) -> tuple[Tensor, Tensor]:
    """known_PX (a last column of ones) and answer_P of this rank's share of the first batches, in float64."""
    found = list(_points(head, asked, feed))
    known = [torch.zeros(0, head.linear.in_features)] + [known for known, _ in found]
    answer = [torch.zeros(0)] + [answer for _, answer in found]
    known_PX = functional.pad(torch.cat(known).double(), (0, 1), value=1.0)
    return known_PX, torch.cat(answer).double()


def _points(head: PointHead, asked: AtPoints, feed: Feed) -> Iterator[tuple[Tensor, Tensor]]:
    with feed.batches("train", epoch=0) as batches:
        for step, rows in enumerate(batches):
            if step == MAX_STEPS:
                return
            batch = batch_from_rows(rows)
            yield asked.known_features(head, batch), asked.answers(batch)
