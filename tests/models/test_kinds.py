"""Losses and answers of the kinds, against the distributions that they come from."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import LogNormal, Poisson

from purchasepath.models.kinds import ANSWERS, amount_parts, width_of
from purchasepath.tables.tasks import Kind

IDENTITY = torch.tensor([1.0, 0.0])


def logits(some: float = -0.4, mean: float = 1.7, deviation: float = 0.8) -> Tensor:
    return torch.tensor([[some, mean, width_of(deviation)]])


def test_parts_of_an_amount_are_those_that_were_put_in() -> None:
    some_N, mean_N, deviation_N = amount_parts(logits())
    assert (some_N.item(), mean_N.item(), deviation_N.item()) == (
        pytest.approx(-0.4), pytest.approx(1.7), pytest.approx(0.8))


@pytest.mark.parametrize("amount", [0.0, 0.01, 5.0, 1e6])
def test_the_loss_of_an_amount_is_its_log_likelihood_up_to_a_constant_of_the_amount(amount: float) -> None:
    def likelihood(some: float, mean: float, deviation: float) -> float:
        chance = torch.sigmoid(torch.tensor(some))
        if not amount:
            return (1 - chance).log().item()
        return (chance.log() + LogNormal(mean, deviation).log_prob(torch.tensor(amount))).item()

    def loss(some: float, mean: float, deviation: float) -> float:
        return ANSWERS[Kind.AMOUNT].loss_sum(logits(some, mean, deviation), torch.tensor([amount])).item()

    one, other = (0.3, 1.0, 0.5), (-1.2, 2.0, 1.5)
    assert loss(*one) - loss(*other) == pytest.approx(likelihood(*other) - likelihood(*one), rel=1e-3, abs=1e-4)


def test_the_loss_of_nobody_and_of_nothing_has_finite_gradients() -> None:
    for answer_N in (torch.zeros(0), torch.zeros(2)):
        logit_N3 = torch.zeros(len(answer_N), 3, requires_grad=True)
        ANSWERS[Kind.AMOUNT].loss_sum(logit_N3, answer_N).backward()
        assert logit_N3.grad is not None
        assert logit_N3.grad.isfinite().all()


def test_the_answer_is_the_mean_of_what_may_come() -> None:
    torch.manual_seed(0)
    answer = ANSWERS[Kind.AMOUNT].answer(logits(), IDENTITY).item()
    some = torch.rand(2_000_000) < torch.sigmoid(torch.tensor(-0.4))
    drawn = some * LogNormal(1.7, 0.8).sample((2_000_000,))
    assert answer == pytest.approx(drawn.mean().item(), rel=0.01)
    assert ANSWERS[Kind.AMOUNT].answer(logits(), torch.tensor([2.0, 0.0])).item() == pytest.approx(2 * answer)


def test_the_loss_of_a_count_is_poissons_up_to_a_constant_of_the_count() -> None:
    for count in (0.0, 3.0):
        losses = [ANSWERS[Kind.COUNT].loss_sum(torch.tensor([log]), torch.tensor([count])).item() for log in (0.2, 1.1)]
        chances = [Poisson(torch.tensor(log).exp()).log_prob(torch.tensor(count)).item() for log in (0.2, 1.1)]
        assert losses[0] - losses[1] == pytest.approx(chances[1] - chances[0], rel=1e-4)
    assert ANSWERS[Kind.COUNT].answer(torch.tensor([0.5]), IDENTITY).item() == pytest.approx(1.6487, rel=1e-4)
