from __future__ import annotations

import pytest
import torch

from purchasepath.config import Model
from purchasepath.errors import ConfigError
from purchasepath.models.build import PurchasePathModel, build_model
from purchasepath.models.low_rank import LowRank, add_adapters, merge_adapters
from tests.training.feeds import NUM_FEATURES, Example, make_batch

BATCH = make_batch([Example([3, 4, 5, 6]), Example([7, 8])])


def adapted(encoder: str = "transformer", *, learned: bool = True) -> PurchasePathModel:
    """A model with adapters; if `learned`, ones that change something."""
    torch.manual_seed(0)
    model = build_model(Model(encoder=encoder, width=8, heads=2, dropout=0.0,
                              tasks=("item", "purchase")), num_items=12, num_types=3,
                        num_features=NUM_FEATURES, max_length=8).eval()
    add_adapters(model.encoder, rank=2)
    for module in model.modules():
        if learned and isinstance(module, LowRank):
            torch.nn.init.normal_(module.up_OR)
    return model


@pytest.mark.parametrize("encoder", ["transformer", "sasrec", "bert4rec"])
def test_a_merged_model_answers_as_before_and_has_the_weights_of_a_plain_one(encoder: str) -> None:
    plain, model = adapted(encoder, learned=False), adapted(encoder)
    fresh = plain.encode(BATCH)
    before = model.encode(BATCH)
    assert not torch.allclose(before, fresh)
    merge_adapters(model)
    torch.testing.assert_close(model.encode(BATCH), before, rtol=1e-5, atol=1e-6)
    merge_adapters(plain)
    torch.testing.assert_close(plain.encode(BATCH), fresh)
    unadapted = build_model(Model(encoder=encoder, width=8, heads=2,
                                  tasks=("item", "purchase")), num_items=12, num_types=3,
                            num_features=NUM_FEATURES, max_length=8)
    assert model.state_dict().keys() == unadapted.state_dict().keys()


def test_only_adapters_and_heads_learn_and_they_are_few() -> None:
    model = adapted()
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    inside = {name for name in learning if name.startswith("encoder.")}
    assert len(inside) == 2 * 2 * 4  # up and down of four matrices in each of two blocks
    assert all(name.endswith((".up_OR", ".down_RI")) for name in inside)
    model.encode(BATCH).sum().backward()
    assert all(parameter.grad is not None for name, parameter in model.named_parameters() if name in inside)


def test_recurrent_encoders_have_nothing_to_adapt() -> None:
    with pytest.raises(ConfigError, match=r"model\.encoder=transformer, sasrec or bert4rec"):
        adapted("gru")
