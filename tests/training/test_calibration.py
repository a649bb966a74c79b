from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch

from purchasepath.config import Model
from purchasepath.datasets.batch import batch_from_rows
from purchasepath.models.build import PurchasePathModel, build_model
from purchasepath.tables.tasks import LABEL_NAMES
from purchasepath.training.calibration import calibrate
from purchasepath.training.device import Device
from purchasepath.training.ranks import SoloRanks
from tests.training.feeds import NUM_FEATURES, Example, MemoryFeed, make_rows

CPU = Device(torch.device("cpu"), None)


def model_of(scale: float, shift: float) -> PurchasePathModel:
    """A model whose purchase logit is scale * the first feature + shift."""
    torch.manual_seed(0)
    model = build_model(Model(width=8, layers=1, heads=2,
                              tasks=("item", "purchase")), num_items=12, num_types=3, num_features=NUM_FEATURES,
                        max_length=8, label_names=LABEL_NAMES)
    with torch.no_grad():
        model.heads["purchase"].linear.weight[0, 1] = scale
        model.heads["purchase"].linear.bias.fill_(shift)
    return model


def shoppers(logits: Sequence[float], copies: int = 200) -> list[Example]:
    """For each logit, `copies` visitors of whom the share sigmoid(logit) bought."""
    return [
        Example([3, 4], bought=float(n < round(copies / (1 + math.exp(-logit)))), features=(logit, 0.0, 0.0))
        for logit in logits for n in range(copies)
    ]


def run(model: PurchasePathModel, valid: Sequence[Example]) -> dict[str, float]:
    return calibrate(model, MemoryFeed([], valid, batch_size=50), SoloRanks(), CPU)


def test_an_overconfident_and_shifted_head_is_set_right() -> None:
    model = model_of(scale=2.5, shift=1.0)
    found = run(model, shoppers([-3.0, -2.0, -1.0, 0.0, 1.0]))
    assert found["purchase_scale"] == pytest.approx(1 / 2.5, abs=0.02)
    assert found["purchase_shift"] == pytest.approx(-1.0 / 2.5, abs=0.05)
    probability = model.answer("purchase", torch.tensor([2.5 * -2.0 + 1.0]))
    assert probability.item() == pytest.approx(1 / (1 + math.exp(2.0)), abs=0.005)
    assert found["valid_purchase_loss_calibrated"] < found["valid_purchase_loss_raw"] - 0.1


@pytest.mark.parametrize("seed", range(5))
def test_the_validation_loss_never_rises_and_the_order_stays(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    valid = [Example([3, 4], bought=float(torch.rand((), generator=generator) < 0.2),
                     features=(float(torch.randn((), generator=generator)), 0.0, 0.0)) for _ in range(40)]
    found = run(model_of(scale=1.0, shift=-1.0), valid)
    assert found["valid_purchase_loss_calibrated"] <= found["valid_purchase_loss_raw"] + 1e-6
    assert found["purchase_scale"] > 0


@pytest.mark.parametrize("valid", [[], [Example([3, 4], bought=0.0)] * 5, [Example([3, 4])] * 5])
def test_a_head_stays_as_it_is_where_nothing_can_be_learned(valid: list[Example]) -> None:
    model = model_of(scale=1.0, shift=0.0)
    found = run(model, valid)
    assert (found["purchase_scale"], found["purchase_shift"]) == (1.0, 0.0)
    assert torch.equal(model.heads["purchase"].calibration, torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize("task", ["value", "orders"])
def test_the_sum_of_amounts_and_counts_becomes_that_of_validation(task: str) -> None:
    torch.manual_seed(0)
    model = build_model(Model(width=8, layers=1, heads=2, tasks=("item", task)), num_items=12, num_types=3,
                        num_features=NUM_FEATURES, max_length=8, label_names=LABEL_NAMES)
    valid = [Example([3, 4], bought=0.0, labels={task: float(n % 5 == 0) * 7.0}) for n in range(4000)]
    found = calibrate(model, MemoryFeed([], valid, batch_size=500), SoloRanks(), CPU)
    rows = batch_from_rows(make_rows(valid))
    with torch.inference_mode():
        expected = model.predict(task, rows, model.encode_points(rows)).sum().item()
    assert expected == pytest.approx(4000 / 5 * 7.0, rel=0.06)  # pulled a little to what the head said by itself
    assert found[f"{task}_scale"] != 1.0
    assert calibrate(model, MemoryFeed([], [], batch_size=5), SoloRanks(), CPU)[f"{task}_scale"] == 1.0
