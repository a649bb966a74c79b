"""Vectors of items with side features: what they are, what is learned of them, and what is left when they are fused."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor

from purchasepath.config import Model
from purchasepath.datasets.sides import Sides
from purchasepath.models.build import PurchasePathModel, build_model
from purchasepath.models.items import FusedItems, ItemTable, add_side_features, fuse_items
from purchasepath.models.losses import draw_negatives, next_item_loss, select_targets
from tests.training.feeds import NUM_FEATURES, Example, make_batch

NUM_ITEMS, NUM_KNOWN = 11, 8
SIDES = Sides(
    {"category": np.array([0, 0, 0, 1, 2, 1, 2, 0, 1, 2, 0]), "brand": np.array([0, 0, 0, 1, 1, 2, 2, 3, 3, 1, 0])},
    np.random.default_rng(0).normal(size=(NUM_ITEMS, 4)).astype(np.float32),
)
BATCH = make_batch([Example([3, 4, 9, 5]), Example([6, 10, 7])])
"""Items 9 and 10 have no history, and are looked at nevertheless."""


def plain_model() -> PurchasePathModel:
    torch.manual_seed(0)
    return build_model(Model(width=8, heads=2, layers=1, dropout=0.0,
                             tasks=("item", "purchase")), num_items=NUM_ITEMS, num_types=2,
                       num_features=NUM_FEATURES, max_length=8, num_known=NUM_KNOWN)


def fused_model(dropout: float = 0.0) -> PurchasePathModel:
    model = plain_model()
    add_side_features(model, SIDES, dropout)
    return model


def items_of(model: PurchasePathModel) -> FusedItems:
    items = model.encoder.embedding.item
    assert isinstance(items, FusedItems)
    return items


def by_hand(model: PurchasePathModel, item: int) -> list[float]:
    """The vector of one item, number by number."""
    items = items_of(model)
    total = [0.0] * 8
    if item < NUM_KNOWN:
        total = items.own.weight[item].tolist()
    for name, table in items.side.tables.items():
        total = [a + b for a, b in zip(total, table.weight[int(SIDES.number_I[name][item])].tolist(), strict=True)]
    assert items.side.from_vector is not None
    for row, weights in enumerate(items.side.from_vector.weight.tolist()):
        total[row] += sum(w * float(x) for w, x in zip(weights, SIDES.vector_IV[item], strict=True))
    return total


def loss_of(model: PurchasePathModel, negative_K: Tensor | None = None) -> Tensor:
    targets = BATCH.target_BL.clone()
    targets[targets >= NUM_KNOWN] = 0  # as datasets are written
    return next_item_loss(model, *select_targets(model.encode(BATCH), targets), negative_K)


def gradients(model: PurchasePathModel) -> dict[str, Tensor]:
    return {name: p.grad.to_dense() for name, p in model.named_parameters() if p.grad is not None}


def test_a_vector_is_the_sum_of_the_items_own_row_and_what_its_side_features_say() -> None:
    model = fused_model().eval()
    expected = torch.tensor([by_hand(model, item) for item in range(NUM_ITEMS)])
    vectors = items_of(model)
    torch.testing.assert_close(vectors.rows(0, None), expected)
    torch.testing.assert_close(vectors.rows(2, 9), expected[2:9])
    torch.testing.assert_close(vectors(torch.tensor([[9, 3], [3, 0]])), expected[[9, 3, 3, 0]].view(2, 2, 8))


def test_scores_of_whole_rows_and_of_given_items_agree() -> None:
    model = fused_model().eval()
    hidden_ND = torch.randn(3, 8)
    every_NI = model.item_scores(hidden_ND)
    torch.testing.assert_close(model.scores_of(hidden_ND, torch.tensor([10, 4])), every_NI[:, [10, 4]])
    torch.testing.assert_close(model.score_of_each(hidden_ND, torch.tensor([3, 9, 8])), every_NI[[0, 1, 2], [3, 9, 8]])


@pytest.mark.parametrize("drawn", [None, 4], ids=["full", "sampled"])
def test_side_features_learn_and_items_without_a_history_have_no_row_that_does(drawn: int | None) -> None:
    model = fused_model()
    negative_K = None if drawn is None else draw_negatives(NUM_KNOWN, drawn, torch.Generator().manual_seed(1))
    loss_of(model, negative_K).backward()
    grads = gradients(model)
    of_items = "encoder.embedding.item."
    for name in ("side.tables.category.weight", "side.tables.brand.weight", "side.from_vector.weight"):
        assert grads[of_items + name].abs().sum() > 0
    assert torch.equal(grads[of_items + "own.weight"][NUM_KNOWN:], torch.zeros(3, 8))
    assert torch.equal(items_of(model).weight[NUM_KNOWN:], torch.zeros(3, 8))
    assert grads[of_items + "own.weight"][3:NUM_KNOWN].abs().sum(dim=1).gt(0).any()
    assert "next_item.bias" not in grads


def test_held_vectors_are_computed_once_and_give_the_same_loss_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    found, calls = [], []
    plain = FusedItems.rows
    monkeypatch.setattr(FusedItems, "rows", lambda *a: calls.append(a[0]._held_ID is None) or plain(*a))
    for hold in (False, True):
        model = fused_model()
        calls.clear()
        with model.held_items() if hold else nullcontext():
            losses = []
            for _ in range(2):  # two parts of a step
                losses.append(loss_of(model))
                losses[-1].backward()
        assert sum(calls) == (1 if hold else 2)
        found.append((torch.stack(losses), gradients(model)))
    (loss, grads), (held_loss, held_grads) = found
    torch.testing.assert_close(held_loss, loss)
    assert held_grads.keys() == grads.keys()
    for name in grads:
        torch.testing.assert_close(held_grads[name], grads[name], msg=name)


def test_a_step_without_examples_has_no_gradient() -> None:
    model = fused_model()
    with model.held_items():
        pass
    assert gradients(model) == {}


def test_own_rows_are_left_out_in_training_only() -> None:
    model = fused_model(dropout=0.5)
    items = items_of(model)
    side_ID = items.side(torch.arange(NUM_ITEMS))
    torch.manual_seed(3)
    vectors = torch.stack([items.rows(0, None) for _ in range(200)])
    left_out = (vectors == side_ID).all(dim=-1)
    assert left_out[:, NUM_KNOWN:].all()
    assert left_out[:, :NUM_KNOWN].double().mean().item() == pytest.approx(0.5, abs=0.05)
    whole = (vectors == side_ID + items.weight).all(dim=-1)
    assert (left_out | whole).all()
    model.eval()
    assert torch.equal(items.rows(0, None), side_ID + items.weight)


def test_a_fused_model_answers_as_before_and_is_a_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("purchasepath.models.items._BLOCK", 4)
    model = fused_model(dropout=0.3).eval()
    before_BLD = model.encode(BATCH)
    scores_NI = model.item_scores(before_BLD[:, -1])
    fuse_items(model)
    assert isinstance(model.encoder.embedding.item, ItemTable)
    torch.testing.assert_close(model.encode(BATCH), before_BLD)
    torch.testing.assert_close(model.item_scores(before_BLD[:, -1]), scores_NI)
    other = plain_model()
    other.load_state_dict(model.state_dict())  # every name and shape
    fuse_items(other)  # nothing to do


def test_training_tells_targets_from_items_with_a_history_alone() -> None:
    model = plain_model()
    with torch.no_grad():
        model.encoder.embedding.item.weight[NUM_KNOWN:] = 0.0
    before = loss_of(model)
    with torch.no_grad():
        model.next_item.bias[NUM_KNOWN:] = 5.0
    assert torch.equal(loss_of(model), before)
    everybody = draw_negatives(model.num_known, 100, torch.Generator().manual_seed(0))
    assert everybody.tolist() == [3, 4, 5, 6, 7]
    torch.testing.assert_close(loss_of(model, everybody), before)
