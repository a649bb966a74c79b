"""The purchase head begins as the logistic regression it contains: what is convex is solved, not trained.

Few points end in a purchase, and gradient steps bring a linear term to its optimum slowly. Newton's method on a sample
of the training points takes seconds; what training adds on top comes from the sequence. All ranks work on their own
share of the same batches and add up their sums, so any number of ranks finds the same weights up to rounding.

Legend: P as-of points, X inputs of the linear term (idle time, user features) and a constant one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from purchasepath.datasets.batch import Batch
    from purchasepath.models.heads import PurchaseHead
    from purchasepath.training.feed import Feed
    from purchasepath.training.ranks import Ranks

MAX_STEPS = 4096
"""Batches looked at: a sample of a large training split, as batches are drawn at random."""
RIDGE = 1e-3
"""Weight of the squared coefficients beside the mean loss; keeps separable data finite. The constant is free."""
_MAX_ITERATIONS = 50
_MAX_HALVINGS = 30
_TOLERANCE = 1e-9


def start_at_logistic_regression(head: PurchaseHead, feed: Feed, ranks: Ranks) -> None:
    """Sets the linear term of `head` to the logistic regression on the training points; leaves it without points."""
    known_PX, bought_P = _gather(head, feed)

    def totals(weights_X: Tensor) -> tuple[float, Tensor, Tensor]:
        return _totals(weights_X, known_PX, bought_P, ranks)

    points = ranks.sum_(torch.tensor([float(len(bought_P))], dtype=torch.float64)).item()
    if not points:
        return
    weights_X = minimize(totals, size=known_PX.shape[1], points=points)
    with torch.no_grad():
        head.linear.weight.copy_(weights_X[None, :-1])
        head.linear.bias.copy_(weights_X[-1:])


def minimize(totals: Callable[[Tensor], tuple[float, Tensor, Tensor]], *, size: int, points: float) -> Tensor:
    """weights_X that minimise loss / points + ridge, by Newton steps that are halved until the loss falls.

    `totals` gives loss, gradient_X and hessian_XX, summed over all points, at given weights.
    """
    ridge_X = torch.full((size,), RIDGE, dtype=torch.float64)
    ridge_X[-1] = 0.0

    def at(weights_X: Tensor) -> tuple[float, Tensor, Tensor]:
        loss, gradient_X, hessian_XX = totals(weights_X)
        penalty = 0.5 * float((ridge_X * weights_X**2).sum())
        return loss / points + penalty, gradient_X / points + ridge_X * weights_X, hessian_XX / points + ridge_X.diag()

    weights_X = torch.zeros(size, dtype=torch.float64)
    loss, gradient_X, hessian_XX = at(weights_X)
    for _ in range(_MAX_ITERATIONS):
        # a hessian of points that are all alike may be singular: the least step is taken
        step_X = torch.linalg.lstsq(hessian_XX, gradient_X[:, None], driver="gelsd").solution[:, 0]
        for halvings in range(_MAX_HALVINGS):
            tried_X = weights_X - step_X * 0.5**halvings
            tried, tried_gradient_X, tried_hessian_XX = at(tried_X)
            if tried <= loss:
                break
        else:
            return weights_X
        fall = loss - tried
        weights_X, loss, gradient_X, hessian_XX = tried_X, tried, tried_gradient_X, tried_hessian_XX
        if fall < _TOLERANCE:
            return weights_X
    return weights_X


def _gather(head: PurchaseHead, feed: Feed) -> tuple[Tensor, Tensor]:
    """known_PX (a last column of ones) and bought_P of this rank's share of the first batches, in float64."""
    found = list(_points(head, feed))
    known = [torch.zeros(0, head.linear.in_features)] + [known for known, _ in found]
    bought = [torch.zeros(0)] + [bought for _, bought in found]
    known_PX = functional.pad(torch.cat(known).double(), (0, 1), value=1.0)
    return known_PX, torch.cat(bought).double()


def _points(head: PurchaseHead, feed: Feed) -> Iterator[tuple[Tensor, Tensor]]:
    with feed.batches("train", epoch=0) as batches:
        batch: Batch
        for step, batch in enumerate(batches):
            if step == MAX_STEPS:
                return
            yield head.known(batch.idle_P, batch.features_PF), batch.bought_P


def _totals(weights_X: Tensor, known_PX: Tensor, bought_P: Tensor, ranks: Ranks) -> tuple[float, Tensor, Tensor]:
    """Loss, gradient and hessian summed over the points of all ranks, in one reduction."""
    size = len(weights_X)
    logit_P = known_PX @ weights_X
    loss = functional.binary_cross_entropy_with_logits(logit_P, bought_P, reduction="sum")
    probability_P = torch.sigmoid(logit_P)
    gradient_X = known_PX.T @ (probability_P - bought_P)
    curvature_P = probability_P * (1 - probability_P)
    hessian_XX = known_PX.T @ (known_PX * curvature_P[:, None])
    sums = ranks.sum_(torch.cat((loss[None], gradient_X, hessian_XX.flatten())))
    return float(sums[0]), sums[1 : 1 + size], sums[1 + size :].view(size, size)
