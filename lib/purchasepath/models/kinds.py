"""Kinds of answers: loss, and what logits say, of each.

Legend: N places where a task is asked, A logits of one answer, T classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from purchasepath.tables.tasks import Kind

MOST_LOG = 30.0
"""Logarithms of amounts and counts are cut here: their exponentials stay numbers."""
_LEAST_DEVIATION, _MOST_DEVIATION = 0.05, 3.0


@dataclass(frozen=True)
class AnswerKind:
    """What is made of logits (N, or N x A) and right answers (N)."""

    loss_sum: Callable[[Tensor, Tensor], Tensor]
    """the loss, summed"""
    answer: Callable[[Tensor, Tensor], Tensor]
    """the answers (N) from logits and a calibration (scale, shift)"""
    logits: int = 1
    """A"""


def binary_loss(logit_N: Tensor, answer_N: Tensor) -> Tensor:
    """Sum of -log of the probability given to the right answers."""
    return functional.binary_cross_entropy_with_logits(logit_N.float(), answer_N, reduction="sum")


def amount_loss(logit_N3: Tensor, answer_N: Tensor) -> Tensor:
    """Sum of -log likelihood of amounts that are 0 or, with a probability, log-normal.

    "ZILN" of Wang, Liu and Miao (2019), without the terms that no weight changes: of an amount y > 0
    -log p + (log y - mean)^2 / (2 deviation^2) + log deviation, of none -log(1 - p).
    """
    some_N, mean_N, deviation_N = amount_parts(logit_N3)
    paid_N = answer_N > 0
    log_N = torch.where(paid_N, answer_N, 1.0).log()  # of none nothing is asked, and nothing may be infinite
    distance_N = 0.5 * ((log_N - mean_N) / deviation_N) ** 2 + deviation_N.log()
    return binary_loss(some_N, paid_N.float()) + torch.where(paid_N, distance_N, 0.0).sum()


def amount_parts(logit_N3: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logit of any amount at all, and mean and standard deviation of the logarithm of one."""
    some_N, mean_N, width_N = logit_N3.float().unbind(1)
    deviation_N = functional.softplus(width_N).clamp(_LEAST_DEVIATION, _MOST_DEVIATION)
    return some_N, mean_N.clamp(-MOST_LOG, MOST_LOG), deviation_N


def expected_amount(logit_N3: Tensor) -> Tensor:
    some_N, mean_N, deviation_N = amount_parts(logit_N3)
    return some_N.sigmoid() * (mean_N + 0.5 * deviation_N**2).exp()


def width_of(deviation: float) -> float:
    """The third logit of an amount whose logarithm has this standard deviation."""
    return math.log(math.expm1(min(max(deviation, _LEAST_DEVIATION), _MOST_DEVIATION)))


def count_loss(logit_N: Tensor, answer_N: Tensor) -> Tensor:
    """Sum of -log likelihood of Poisson counts, without the term that no weight changes."""
    log_N = logit_N.float().clamp(-MOST_LOG, MOST_LOG)
    return (log_N.exp() - answer_N * log_N).sum()


def expected_count(logit_N: Tensor) -> Tensor:
    return logit_N.float().clamp(-MOST_LOG, MOST_LOG).exp()


def choice_loss(logit_NT: Tensor, answer_N: Tensor) -> Tensor:
    """Sum of -log of the probability given to the right class."""
    return functional.cross_entropy(logit_NT.float(), answer_N, reduction="sum")


def likeliest(logit_NT: Tensor) -> Tensor:
    return logit_NT.argmax(dim=1)


ANSWERS: Mapping[Kind, AnswerKind] = {
    Kind.BINARY: AnswerKind(binary_loss, lambda logit_N, by: torch.sigmoid(by[0] * logit_N.float() + by[1])),
    Kind.AMOUNT: AnswerKind(amount_loss, lambda logit_N3, by: by[0] * expected_amount(logit_N3), logits=3),
    Kind.COUNT: AnswerKind(count_loss, lambda logit_N, by: by[0] * expected_count(logit_N)),
    Kind.CHOICE: AnswerKind(choice_loss, lambda logit_NT, by: likeliest(logit_NT)),
}
"""Items are scored by the encoder's own vectors (`losses.py`)."""
