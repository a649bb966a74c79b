"""What is convex is solved, not trained: heads at as-of points begin as the logistic regression they contain.

Few points end in a purchase, and gradient steps bring a linear term to its optimum slowly. Newton's method on a sample
of the training points takes seconds; what training adds on top comes from the sequence. All ranks work on their own
share of the same batches and add up their sums, so any number of ranks finds the same weights up to rounding.

Legend: P as-of points, X inputs of the linear term (idle time, user features) and a constant one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from purchasepath.datasets.batch import batch_from_rows
from purchasepath.training.logistic import fit_logistic

if TYPE_CHECKING:
    from purchasepath.models.heads import PointHead
    from purchasepath.models.questions import AtPoints
    from purchasepath.training.feed import Feed
    from purchasepath.training.ranks import Ranks

MAX_STEPS = 4096
"""Batches looked at: a sample of a large training split, as batches are drawn at random."""
PRIOR = 25.0
"""Weight of the squared coefficients beside the summed loss (docs/experiments.md): with some hundred points a looser
head says what chance said."""


def start_at_logistic_regression(head: PointHead, question: AtPoints, feed: Feed, ranks: Ranks) -> None:
    """Sets the linear term of `head` to the logistic regression on the training points; leaves it without points."""
    known_PX, answer_P = _gather(head, question, feed)
    start_X = torch.cat((head.linear.weight[0], head.linear.bias)).detach().double()
    weights_X = fit_logistic(known_PX, answer_P, start_X, ranks, prior=PRIOR)
    with torch.no_grad():
        head.linear.weight.copy_(weights_X[None, :-1])
        head.linear.bias.copy_(weights_X[-1:])


def _gather(head: PointHead, question: AtPoints, feed: Feed) -> tuple[Tensor, Tensor]:
    """known_PX (a last column of ones) and answer_P of this rank's share of the first batches, in float64."""
    found = list(_points(head, question, feed))
    known = [torch.zeros(0, head.linear.in_features)] + [known for known, _ in found]
    answer = [torch.zeros(0)] + [answer for _, answer in found]
    known_PX = functional.pad(torch.cat(known).double(), (0, 1), value=1.0)
    return known_PX, torch.cat(answer).double()


def _points(head: PointHead, question: AtPoints, feed: Feed) -> Iterator[tuple[Tensor, Tensor]]:
    with feed.batches("train", epoch=0) as batches:
        for step, rows in enumerate(batches):
            if step == MAX_STEPS:
                return
            batch = batch_from_rows(rows)
            yield head.known(batch.idle_P, batch.features_PF), question.answers(batch)
