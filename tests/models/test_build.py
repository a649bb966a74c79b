from __future__ import annotations

import pytest
import torch

from purchasepath.config import Model
from purchasepath.models.build import build_model, count_parameters
from purchasepath.models.encoders import ENCODERS

SIZES = {"num_items": 20, "num_types": 9, "num_features": 2, "max_length": 8}


def test_the_same_seed_gives_the_same_weights() -> None:
    weights = []
    for _ in range(2):
        torch.manual_seed(3)
        weights.append(build_model(Model(width=8), **SIZES).state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_item_scores_use_the_input_embedding() -> None:
    model = build_model(Model(width=8), **SIZES)
    with torch.no_grad():
        model.encoder.embedding.item.weight.zero_()
    assert torch.equal(model.item_scores(torch.randn(2, 8))[:, 3:], torch.zeros(2, 17))


@pytest.mark.parametrize("encoder", sorted(ENCODERS))
def test_every_encoder_predicts_by_the_table_it_reads_items_from(encoder: str) -> None:
    model = build_model(Model(encoder=encoder, width=8), **SIZES)
    assert [name for name, p in model.named_parameters() if p.shape[0] == SIZES["num_items"]] == [
        "encoder.embedding.item.weight", "next_item.bias"
    ]
    hidden_ND, item_N = torch.randn(3, 8), torch.tensor([4, 19, 4])
    scores_NI = model.item_scores(hidden_ND)
    torch.testing.assert_close(model.scores_of(hidden_ND, item_N), scores_NI[:, item_N])
    torch.testing.assert_close(model.score_of_each(hidden_ND, item_N), scores_NI[torch.arange(3), item_N])


def test_heads_do_not_matter_where_nothing_attends() -> None:
    build_model(Model(encoder="gru", width=8, heads=3), **SIZES)


def test_parameters_are_counted_once_though_the_item_table_is_used_twice() -> None:
    small, large = (build_model(Model(width=8), **SIZES | {"num_items": n}) for n in (20, 21))
    assert count_parameters(large) - count_parameters(small) == 8 + 1  # an embedding and a bias
