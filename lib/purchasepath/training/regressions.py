"""Regressions that all ranks fit together: Newton's method on sums over everybody's points.

Legend: P points, X inputs (the last of them a constant one).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from purchasepath.training.ranks import Ranks

Family = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""(logit_P, answer_P) -> the summed loss, and its first and second derivative by each logit."""

_MAX_ITERATIONS = 50
_MAX_HALVINGS = 30
_TOLERANCE = 1e-9


def logistic(logit_P: Tensor, answer_P: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    loss = functional.binary_cross_entropy_with_logits(logit_P, answer_P, reduction="sum")
    probability_P = torch.sigmoid(logit_P)
    return loss, probability_P - answer_P, probability_P * (1 - probability_P)


def linear(logit_P: Tensor, answer_P: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    distance_P = logit_P - answer_P
    return 0.5 * (distance_P**2).sum(), distance_P, torch.ones_like(logit_P)


def poisson(logit_P: Tensor, answer_P: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    mean_P = logit_P.exp()
    return (mean_P - answer_P * logit_P).sum(), mean_P - answer_P, mean_P


def fit_regression(
    family: Family, known_PX: Tensor, answer_P: Tensor, start_X: Tensor, ranks: Ranks, *, prior: float
) -> Tensor:
    """weights_X of the regression of `answer_P` on `known_PX` (float64), whose last column is ones.

    `prior` times half the squared distance from `start_X` is added to the summed loss: few points move the weights
    little, and separable ones leave them finite. The constant is free. Every rank brings its own points and finds the
    same weights; without any point they are `start_X`.
    """
    points = ranks.sum_(torch.tensor([float(len(answer_P))], dtype=torch.float64)).item()
    if not points:
        return start_X
    return minimize(lambda weights_X: _totals(family, weights_X, known_PX, answer_P, ranks), start_X=start_X,
                    ridge=prior / points, points=points)


def minimize(
    totals: Callable[[Tensor], tuple[float, Tensor, Tensor]], *, start_X: Tensor, ridge: float, points: float
) -> Tensor:
    """weights_X that minimise loss / points + ridge, by Newton steps that are halved until the loss falls.

    The ridge pulls towards `start_X`, where it is 0: the loss found is never larger than the loss there.
    `totals` gives loss, gradient_X and hessian_XX, summed over all points, at given weights.
    """
    ridge_X = torch.full_like(start_X, ridge)
    ridge_X[-1] = 0.0

    def at(weights_X: Tensor) -> tuple[float, Tensor, Tensor]:
        loss, gradient_X, hessian_XX = totals(weights_X)
        pull_X = ridge_X * (weights_X - start_X)
        penalty = 0.5 * float((pull_X * (weights_X - start_X)).sum())
        return loss / points + penalty, gradient_X / points + pull_X, hessian_XX / points + ridge_X.diag()

    weights_X = start_X
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


def _totals(
    family: Family, weights_X: Tensor, known_PX: Tensor, answer_P: Tensor, ranks: Ranks
) -> tuple[float, Tensor, Tensor]:
    """Loss, gradient and hessian summed over the points of all ranks, in one reduction."""
    size = len(weights_X)
    loss, slope_P, curvature_P = family(known_PX @ weights_X, answer_P)
    gradient_X = known_PX.T @ slope_P
    hessian_XX = known_PX.T @ (known_PX * curvature_P[:, None])
    sums = ranks.sum_(torch.cat((loss[None], gradient_X, hessian_XX.flatten())))
    return float(sums[0]), sums[1 : 1 + size], sums[1 + size :].view(size, size)
