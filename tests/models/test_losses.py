from __future__ import annotations

import math

import pytest
import torch

from purchasepath.config import Model
from purchasepath.models import losses
from purchasepath.models.build import PurchasePathModel, build_model
from purchasepath.models.kinds import binary_loss
from purchasepath.models.losses import draw_negatives, next_item_loss, select_targets
from tests.training.feeds import NUM_FEATURES, Example, make_batch


@pytest.fixture(scope="module")
def model() -> PurchasePathModel:
    torch.manual_seed(0)
    return build_model(
        Model(width=8, heads=2, layers=1,
              tasks=("item", "purchase")), num_items=13, num_types=3, num_features=NUM_FEATURES, max_length=10
    ).eval()


def test_only_targets_that_are_items_count() -> None:
    hidden_BLD = torch.arange(12.0).view(2, 3, 2)
    hidden_ND, target_N = select_targets(hidden_BLD, torch.tensor([[0, 3, 2], [7, 1, 0]]))
    assert target_N.tolist() == [3, 7]
    assert hidden_ND.tolist() == [[2.0, 3.0], [6.0, 7.0]]


def test_next_item_loss_is_the_sum_of_negative_log_probabilities_over_real_items(model: PurchasePathModel) -> None:
    hidden_ND, target_N = torch.randn(4, 8), torch.tensor([3, 12, 5, 3])
    scores = model.item_scores(hidden_ND).tolist()
    expected = 0.0
    for row, target in zip(scores, target_N.tolist(), strict=True):
        expected -= row[target] - math.log(sum(math.exp(score) for score in row[3:]))
    assert next_item_loss(model, hidden_ND, target_N).item() == pytest.approx(expected, rel=1e-5)


def test_chunks_give_the_same_loss_and_gradient(model: PurchasePathModel, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden_ND, target_N = torch.randn(10, 8), torch.arange(3, 13)
    found = []
    for max_scores in (1 << 26, 3 * 13):
        monkeypatch.setattr(losses, "MAX_SCORES", max_scores)
        model.zero_grad()
        loss = next_item_loss(model, hidden_ND, target_N)
        loss.backward()
        found.append((loss.detach(), model.encoder.embedding.item.weight.grad.clone()))
    torch.testing.assert_close(found[1][0], found[0][0])
    torch.testing.assert_close(found[1][1], found[0][1])


def test_purchase_loss_is_the_sum_of_binary_cross_entropies() -> None:
    found = binary_loss(torch.tensor([0.0, math.log(3)]), torch.tensor([1.0, 0.0]))
    assert found.item() == pytest.approx(math.log(2) + math.log(4), rel=1e-6)


def test_padding_does_not_change_the_losses(model: PurchasePathModel) -> None:
    short, long = Example([5, 6, 7], bought=1.0), Example([4, 8, 3, 9, 5, 6, 11], bought=0.0)

    def sums(batch: object) -> torch.Tensor:
        hidden_BLD = model.encode(batch)
        items = next_item_loss(model, *select_targets(hidden_BLD, batch.target_BL))
        return torch.stack((items, binary_loss(*model.ask("purchase", batch, hidden_BLD))))

    together = sums(make_batch([short, long], length=10))
    torch.testing.assert_close(together, sums(make_batch([short])) + sums(make_batch([long])))


def test_nothing_to_predict_costs_nothing_and_has_a_gradient(model: PurchasePathModel) -> None:
    model.zero_grad()
    loss = next_item_loss(model, torch.zeros(0, 8, requires_grad=True), torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0.0


def test_each_stratum_of_the_ids_gives_one_negative_and_no_special_id_comes() -> None:
    negative_K = draw_negatives(103, 20, torch.Generator().manual_seed(0))
    assert torch.equal((negative_K - 3) // 5, torch.arange(20))


def test_every_item_is_drawn_equally_often() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.cat([draw_negatives(13, 4, generator) for _ in range(5000)])
    assert torch.bincount(drawn, minlength=13)[3:].div(5000) == pytest.approx(torch.full((10,), 0.4), abs=0.03)


@pytest.mark.parametrize("count", [10, 11, 500])
def test_asking_for_as_many_negatives_as_items_gives_all_items(count: int) -> None:
    assert draw_negatives(13, count, torch.Generator().manual_seed(0)).tolist() == list(range(3, 13))


def test_sampled_softmax_weighs_each_drawn_item_by_its_chance(model: PurchasePathModel) -> None:
    hidden_ND, target_N, negative_K = torch.randn(3, 8), torch.tensor([4, 12, 7]), torch.tensor([4, 9, 11, 11])
    expected = 0.0
    for row, target in zip(model.item_scores(hidden_ND).tolist(), target_N.tolist(), strict=True):
        others = sum(math.exp(row[k]) * 10 / 4 for k in negative_K.tolist() if k != target)
        expected -= math.log(math.exp(row[target]) / (math.exp(row[target]) + others))
    assert next_item_loss(model, hidden_ND, target_N, negative_K).item() == pytest.approx(expected, rel=1e-5)


def test_with_all_items_drawn_loss_and_gradient_are_those_of_the_full_softmax(model: PurchasePathModel) -> None:
    hidden_ND, target_N = torch.randn(6, 8), torch.tensor([3, 12, 5, 3, 8, 9])
    found = []
    for negative_K in (None, torch.arange(3, 13)):
        model.zero_grad()
        leaf_ND = hidden_ND.clone().requires_grad_()
        loss = next_item_loss(model, leaf_ND, target_N, negative_K)
        loss.backward()
        item = model.encoder.embedding.item.weight.grad
        bias = model.next_item.bias.grad
        found.append([loss.detach(), leaf_ND.grad, item.to_dense() if item.is_sparse else item, bias])
    torch.testing.assert_close(found[1], found[0])


def test_the_sampled_sum_over_the_other_items_is_right_in_the_mean(model: PurchasePathModel) -> None:
    hidden_ND, target_N, generator = torch.randn(1, 8), torch.tensor([5]), torch.Generator().manual_seed(0)
    odds = [
        next_item_loss(model, hidden_ND, target_N, draw_negatives(13, 3, generator)).exp() - 1 for _ in range(3000)
    ]
    exact = next_item_loss(model, hidden_ND, target_N).exp() - 1
    assert torch.stack(odds).mean().item() == pytest.approx(exact.item(), rel=0.02)


def test_an_only_negative_that_is_the_target_costs_nothing(model: PurchasePathModel) -> None:
    hidden_ND = torch.randn(1, 8, requires_grad=True)
    loss = next_item_loss(model, hidden_ND, torch.tensor([5]), torch.tensor([5]))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(hidden_ND.grad, torch.zeros(1, 8))
