from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from purchasepath.config import Model, Training
from purchasepath.models.build import build_model
from purchasepath.training import optimizer
from purchasepath.training.optimizer import AdamW, FlatModel, learning_rate

SIZES = {"num_items": 20, "num_types": 9, "num_features": 2, "max_length": 8}


def test_rate_warms_up_in_a_line_peaks_and_falls_to_a_tenth() -> None:
    config = Training(learning_rate=0.01, batch_size=128, warmup_steps=4)
    rates = [learning_rate(update, 104, config) for update in range(104)]
    assert rates[:4] == pytest.approx([0.002, 0.004, 0.006, 0.008])
    assert rates[4] == pytest.approx(0.01)
    assert all(later <= earlier for earlier, later in pairwise(rates[4:]))
    assert learning_rate(104, 104, config) == pytest.approx(0.001)


def test_warm_up_takes_at_most_a_fifth_of_a_short_run() -> None:
    assert learning_rate(2, 10, Training(learning_rate=0.01, batch_size=128, warmup_steps=50)) == pytest.approx(0.01)


def test_rate_grows_with_the_root_of_the_batch_and_not_with_the_ranks() -> None:
    def peak(batch_size: int, ranks: int) -> float:
        config = Training(learning_rate=0.001, warmup_steps=0, batch_size=batch_size, ranks=ranks)
        return learning_rate(0, 10, config)

    assert [peak(128, 1), peak(512, 1), peak(512, 4)] == pytest.approx([0.001, 0.002, 0.002])


def test_weights_and_gradients_of_the_model_are_views_of_two_buffers() -> None:
    model = torch.nn.Linear(3, 2)
    before = model(torch.ones(1, 3))
    flat = FlatModel(model, counts=2)
    assert torch.equal(model(torch.ones(1, 3)), before)
    model(torch.ones(1, 3)).sum().backward()
    assert flat.gradients_W.tolist() == [1.0] * 8
    flat.weights_W.zero_()
    assert not model.weight.any()


def test_a_long_gradient_is_cut_to_the_limit_and_a_short_one_left_alone() -> None:
    flat = FlatModel(torch.nn.Linear(1, 1), counts=2)
    for gradient, expected in ((3.0, 0.5**0.5), (0.1, 0.1)):
        flat.gradients_W.fill_(gradient)
        flat.clip(1.0)
        assert flat.gradients_W.tolist() == pytest.approx([expected, expected], rel=1e-5)


def test_steps_are_those_of_torchs_adamw() -> None:
    torch.manual_seed(0)
    ours, theirs = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    theirs.load_state_dict(ours.state_dict())
    flat = FlatModel(ours, counts=2)
    mine = AdamW(ours, flat, Training(weight_decay=0.1))
    reference = torch.optim.AdamW(
        [{"params": [theirs.weight], "weight_decay": 0.1}, {"params": [theirs.bias], "weight_decay": 0.0}],
        lr=0.01, betas=(0.9, 0.98),
    )
    for update in range(5):
        x = torch.randn(6, 4)
        for model in (ours, theirs):
            model.zero_grad(set_to_none=False)
            model(x).square().sum().backward()
        mine.step(update, 0.01)
        reference.step()
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-5, atol=1e-7)


def test_only_matrices_decay() -> None:
    model = build_model(Model(width=8, tasks=("item", "purchase")), **SIZES)
    optimizer = AdamW(model, FlatModel(model, counts=2), Training(weight_decay=0.5))
    starts = {}
    position = 0
    for name, parameter in model.named_parameters():
        starts[name] = position
        position += parameter.numel()
    decay = {name: optimizer.decay_W[start].item() for name, start in starts.items()}
    assert decay["heads.purchase.inner.weight"] == 0.5
    assert decay["heads.purchase.inner.bias"] == decay["encoder.embedding.item.weight"] == 0


def test_blocks_of_weights_are_updated_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for block in (1 << 18, 7):
        monkeypatch.setattr(optimizer, "_CPU_BLOCK", block)
        torch.manual_seed(0)
        model = nn.Linear(5, 4)
        flat = FlatModel(model, counts=2)
        adamw = AdamW(model, flat, Training())
        for update in range(3):
            flat.gradients_W.normal_()
            adamw.step(update, 0.1)
        found.append(flat.weights_W)
    assert torch.equal(found[0], found[1])
