from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from purchasepath.config import Model, Training
from purchasepath.models.build import build_model
from purchasepath.training.optimizer import (
    FlatGradients,
    build_optimizer,
    learning_rate,
    optimizer_tensors,
    set_rate,
)

SIZES = {"num_items": 20, "num_types": 9, "num_features": 2, "max_length": 8}


def test_rate_warms_up_in_a_line_peaks_and_falls_to_a_tenth() -> None:
    config = Training(learning_rate=0.01, warmup_steps=4)
    rates = [learning_rate(update, 104, config) for update in range(104)]
    assert rates[:4] == pytest.approx([0.002, 0.004, 0.006, 0.008])
    assert rates[4] == pytest.approx(0.01)
    assert all(later <= earlier for earlier, later in pairwise(rates[4:]))
    assert learning_rate(104, 104, config) == pytest.approx(0.001)


def test_warm_up_takes_at_most_a_fifth_of_a_short_run() -> None:
    assert learning_rate(2, 10, Training(learning_rate=0.01, warmup_steps=50)) == pytest.approx(0.01)


def test_rate_grows_with_the_root_of_the_batch_and_not_with_the_ranks() -> None:
    at_peak = [learning_rate(0, 10, Training(warmup_steps=0, batch_size=b, ranks=r)) for b, r in
               ((128, 1), (512, 1), (512, 4))]
    assert at_peak == pytest.approx([0.001, 0.002, 0.002])


def test_gradients_of_the_model_are_views_of_one_buffer() -> None:
    model = torch.nn.Linear(3, 2)
    gradients = FlatGradients(list(model.parameters()))
    model(torch.ones(1, 3)).sum().backward()
    assert gradients.buffer.tolist() == [1.0] * 8
    gradients.clip(1.0)
    assert gradients.buffer.norm().item() == pytest.approx(1.0, rel=1e-5)
    assert model.bias.grad is not None
    assert model.bias.grad[0].item() == pytest.approx(1 / math.sqrt(8), rel=1e-5)
    gradients.clear()
    assert model.weight.grad is not None
    assert not model.weight.grad.any()


def test_a_gradient_below_the_limit_is_left_alone() -> None:
    model = torch.nn.Linear(1, 1)
    gradients = FlatGradients(list(model.parameters()))
    gradients.buffer.fill_(0.1)
    gradients.clip(1.0)
    assert gradients.buffer.tolist() == pytest.approx([0.1, 0.1])


def test_every_weight_is_optimized_once_and_only_matrices_decay() -> None:
    model = build_model(Model(width=8), **SIZES)
    optimizer = build_optimizer(model, Training(weight_decay=0.5))
    groups = {id(p): g for g in optimizer.param_groups for p in g["params"]}
    assert len(groups) == sum(len(g["params"]) for g in optimizer.param_groups) == len(list(model.parameters()))
    assert groups[id(model.encoder.embedding.item.weight)]["weight_decay"] == 0
    assert groups[id(model.purchase.inner.weight)]["weight_decay"] == 0.5
    assert groups[id(model.purchase.inner.bias)]["weight_decay"] == 0


def test_the_linear_term_of_the_purchase_head_learns_faster() -> None:
    model = build_model(Model(width=8), **SIZES)
    optimizer = build_optimizer(model, Training())
    set_rate(optimizer, 0.002)
    rates = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    assert rates[id(model.purchase.linear.bias)] == pytest.approx(10 * rates[id(model.purchase.inner.bias)])


def test_the_state_by_name_is_the_live_state() -> None:
    model = build_model(Model(width=8), **SIZES)
    gradients = FlatGradients(list(model.parameters()))
    optimizer = build_optimizer(model, Training())
    tensors = optimizer_tensors(model, optimizer)
    gradients.buffer.fill_(1.0)
    optimizer.step()
    assert tensors["next_item.bias.step"].item() == 1
    assert tensors["next_item.bias.exp_avg"].abs().min() > 0
