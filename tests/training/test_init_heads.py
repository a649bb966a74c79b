"""The linear terms start at the regressions that scikit-learn finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from torch import Tensor
from torch.nn import functional

from purchasepath.models.heads import PointHead
from purchasepath.models.kinds import amount_parts
from purchasepath.models.layers import LOG_SECONDS_SCALE
from purchasepath.models.tasks import asked_of
from purchasepath.tables.tasks import LABELLED
from purchasepath.training.init_heads import PRIOR, start_at_regression
from purchasepath.training.ranks import SoloRanks
from purchasepath.training.regressions import _totals, fit_regression, logistic, minimize
from tests.training.feeds import Example, MemoryFeed

PURCHASE, VALUE, ORDERS = (asked_of(name, [t.name for t in LABELLED]) for name in ("purchase", "value", "orders"))


def points(number: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """known_PX with a last column of ones, bought_P by a logistic law with a low base rate."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(number, 4)) * [1.0, 3.0, 0.2, 1.0]
    logit = features @ [0.5, -0.4, 2.0, 0.0] - 2.0
    bought = random.random(number) < 1 / (1 + np.exp(-logit))
    return functional.pad(torch.tensor(features), (0, 1), value=1.0), torch.tensor(bought).double()


def solve(known_PX: Tensor, bought_P: Tensor) -> Tensor:
    start_X = torch.zeros(known_PX.shape[1], dtype=torch.float64)
    return fit_regression(logistic, known_PX, bought_P, start_X, SoloRanks(), prior=PRIOR)


def test_weights_equal_scikit_learns() -> None:
    known_PX, bought_P = points(2000)
    reference = LogisticRegression(C=1 / PRIOR, tol=1e-10, max_iter=10_000)
    reference.fit(known_PX[:, :-1].numpy(), bought_P.numpy())
    expected = torch.tensor(np.append(reference.coef_[0], reference.intercept_))
    torch.testing.assert_close(solve(known_PX, bought_P), expected, rtol=1e-4, atol=1e-4)


def test_ranks_that_add_up_their_shares_find_the_same_weights() -> None:
    known_PX, bought_P = points(500)

    def shared(weights_X: Tensor) -> tuple[float, Tensor, Tensor]:
        shares = (slice(0, 123), slice(123, 500))
        parts = [_totals(logistic, weights_X, known_PX[own], bought_P[own], SoloRanks()) for own in shares]
        return sum(p[0] for p in parts), parts[0][1] + parts[1][1], parts[0][2] + parts[1][2]

    together = minimize(shared, start_X=torch.zeros(5, dtype=torch.float64), ridge=PRIOR / 500, points=500.0)
    torch.testing.assert_close(together, solve(known_PX, bought_P), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("bought", [[0.0, 0.0, 1.0, 1.0], [0.0] * 4, [1.0] * 4])
def test_separable_points_and_a_single_class_stay_finite(bought: list[float]) -> None:
    known_PX = torch.tensor([[-2.0, 1.0], [-1.0, 1.0], [1.0, 1.0], [2.0, 1.0]], dtype=torch.float64)
    weights_X = solve(known_PX, torch.tensor(bought, dtype=torch.float64))
    assert weights_X.isfinite().all()
    assert ((torch.sigmoid(known_PX @ weights_X) > 0.5).double() == torch.tensor(bought, dtype=torch.float64)).all()


def test_points_that_are_all_alike_give_the_base_rate() -> None:
    known_PX = torch.tensor([[0.0, 1.0]] * 10, dtype=torch.float64)
    weights_X = solve(known_PX, torch.tensor([1.0] * 2 + [0.0] * 8, dtype=torch.float64))
    assert torch.sigmoid(known_PX @ weights_X)[0] == pytest.approx(0.2, abs=1e-6)


def test_the_head_says_the_base_rate_of_its_feed_and_stays_as_it_is_without_points() -> None:
    head = PointHead(width=4, num_features=3, dropout=0.0)
    head.start_at_zero()
    before = head.linear.bias.clone()
    start_at_regression(head, PURCHASE, MemoryFeed([Example([3, 4])] * 8, [], batch_size=4), SoloRanks())
    assert torch.equal(head.linear.bias, before)
    shoppers = [Example([3, 4], bought=float(i == 0)) for i in range(8)]
    start_at_regression(head, PURCHASE, MemoryFeed(shoppers, [], batch_size=4), SoloRanks())
    logit_P = head(torch.randn(1, 4), torch.ones(1), torch.zeros(1, 3))
    assert torch.sigmoid(logit_P).item() == pytest.approx(1 / 8, abs=1e-4)


def shoppers(answers: list[float], label: str, seed: int = 3) -> MemoryFeed:
    """A visitor for each answer, whose features say a little of it."""
    chance = np.random.default_rng(seed)
    examples = [Example([3, 4], bought=0.0, labels={label: answer},
                        features=(float(np.log1p(answer) + chance.normal()), float(chance.normal()), 0.0))
                for answer in answers]
    return MemoryFeed(examples, [], batch_size=32)


def logits(head: PointHead, feed: MemoryFeed) -> tuple[Tensor, Tensor]:
    features_PF = torch.tensor([example.features for example in feed.train])
    logit_PA = head(torch.randn(len(features_PF), 4), torch.ones(len(features_PF)), features_PF)
    return logit_PA, torch.cat((torch.full((len(features_PF), 1), 1 / LOG_SECONDS_SCALE), features_PF), dim=1)


def test_counts_begin_at_the_poisson_regression_that_scikit_learn_finds() -> None:
    counts = np.random.default_rng(1).poisson(0.7, size=400).astype(float)
    feed, head = shoppers(list(counts), "orders"), PointHead(width=4, num_features=3, dropout=0.0)
    head.start_at_zero()
    start_at_regression(head, ORDERS, feed, SoloRanks())
    logit_P, known_PX = logits(head, feed)
    reference = PoissonRegressor(alpha=PRIOR / len(counts), tol=1e-10, max_iter=10_000).fit(known_PX.numpy(), counts)
    np.testing.assert_allclose(logit_P.exp().detach(), reference.predict(known_PX.numpy()), rtol=2e-3)


def test_amounts_begin_at_whether_there_is_one_and_the_line_through_the_logarithms_of_those() -> None:
    chance = np.random.default_rng(2)
    amounts = np.where(chance.random(600) < 0.4, np.exp(chance.normal(3.0, 0.8, size=600)), 0.0)
    feed, head = shoppers(list(amounts), "value"), PointHead(width=4, num_features=3, dropout=0.0, logits=3)
    head.start_at_zero()
    start_at_regression(head, VALUE, feed, SoloRanks())
    logit_P3, known_PX = logits(head, feed)
    some_P, mean_P, deviation_P = (part.detach().numpy() for part in amount_parts(logit_P3))
    paid, known = amounts > 0, known_PX.numpy()
    whether = LogisticRegression(C=1 / PRIOR, tol=1e-10, max_iter=10_000).fit(known, paid)
    np.testing.assert_allclose(1 / (1 + np.exp(-some_P)), whether.predict_proba(known)[:, 1], rtol=2e-3)
    line = Ridge(alpha=PRIOR).fit(known[paid], np.log(amounts[paid]))
    np.testing.assert_allclose(mean_P, line.predict(known), rtol=2e-3)
    off = np.log(amounts[paid]) - line.predict(known[paid])
    np.testing.assert_allclose(deviation_P, np.sqrt((off**2).mean()), rtol=2e-3)
