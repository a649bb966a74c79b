from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from purchasepath.config import Model
from purchasepath.models.build import PurchasePathModel, build_model
from purchasepath.models.encoders import ENCODERS
from tests.training.feeds import NUM_FEATURES, Example, make_batch

ITEMS = [5, 9, 4, 7, 11, 6]


@pytest.fixture(scope="module", params=sorted(ENCODERS))
def model(request: pytest.FixtureRequest) -> PurchasePathModel:
    torch.manual_seed(0)
    return build_model(
        Model(encoder=request.param, width=16, heads=2, layers=2, tasks=("item", "purchase")),
        num_items=20, num_types=3, num_features=NUM_FEATURES, max_length=10,
    ).eval()


@pytest.mark.parametrize("column", ["item_BL", "type_BL", "gap_BL", "price_BL"])
def test_a_later_event_leaves_earlier_hidden_vectors_as_they_were(model: PurchasePathModel, column: str) -> None:
    before = make_batch([Example(ITEMS, bought=1.0)])
    changed = getattr(before, column).clone()
    changed[0, 3] = changed[0, 3] + 1
    hidden_BLD = model.encode(before)
    other_BLD = model.encode(replace(before, **{column: changed}))
    assert torch.equal(hidden_BLD[:, :3], other_BLD[:, :3])
    assert (hidden_BLD[:, 3:] - other_BLD[:, 3:]).abs().amax(dim=(0, 2)).min() > 1e-4  # and every later one changes


def test_padding_does_not_change_the_hidden_vectors_of_real_events(model: PurchasePathModel) -> None:
    alone_BLD = model.encode(make_batch([Example(ITEMS)]))
    padded_BLD = model.encode(make_batch([Example(ITEMS), Example(list(range(3, 13)))]))
    torch.testing.assert_close(padded_BLD[:1, : len(ITEMS)], alone_BLD, atol=1e-6, rtol=1e-5)


def test_the_same_events_at_another_position_have_other_hidden_vectors(model: PurchasePathModel) -> None:
    hidden_BLD = model.encode(make_batch([Example([5, 5, 5])]))
    assert (hidden_BLD[0, 0] - hidden_BLD[0, 1]).abs().max() > 1e-4


def test_an_empty_batch_has_empty_hidden_vectors(model: PurchasePathModel) -> None:
    empty = make_batch([])
    assert {f.name for f in fields(empty)} >= {"item_BL", "labels_PT"}
    assert model.encode(empty).shape == (0, 1, 16)
    assert model.ask("purchase", empty, model.encode(empty))[0].shape == (0,)
