"""Fine-tuning: what changes of a model, and that it goes on after a stop as if nothing had happened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from purchasepath.config import Model, Training, load_config
from purchasepath.datasets.sides import Sides
from purchasepath.errors import ConfigError
from purchasepath.models.build import PurchasePathModel, build_model
from purchasepath.models.items import ItemTable
from purchasepath.models.low_rank import merge_adapters
from purchasepath.training.checkpoint import Checkpoints
from purchasepath.training.loop import Trainer
from purchasepath.training.ranks import SoloRanks
from purchasepath.training.start import begin, check_start, keep_start
from tests.training.feeds import NUM_FEATURES, KilledError, MemoryFeed
from tests.training.test_loop import CONFIG, FEED, same

ALL = ("item", "purchase", "session", "churn", "next_type")
Weights = dict[str, torch.Tensor]


KNOWN_FEED = replace(FEED, train=[replace(e, targets=[t if t < 10 else 0 for t in e.next_items]) for e in FEED.train])
"""Items 10 and 11 are met and no targets, as items without a history are in training."""


def make_model(*tasks: str, num_known: int = 12) -> PurchasePathModel:
    torch.manual_seed(4)
    return build_model(Model(width=8, heads=2, layers=1, tasks=tasks), num_items=12, num_types=3,
                       num_features=NUM_FEATURES, max_length=8, num_known=num_known)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a model that was trained on the next item."""
    model = make_model("item")
    Trainer(model, replace(FEED), SoloRanks(), CONFIG.model_copy(update={"epochs": 1})).fit()
    file = tmp_path_factory.mktemp("pretrained") / "model.safetensors"
    save_file(model.state_dict(), file)
    return file


def tune(
    pretrained: Path, workspace: Path, feed: MemoryFeed, config: Training, *tasks: str
) -> tuple[Weights, Weights]:
    """Weights at the start and at the end."""
    keep_start(workspace, pretrained)
    model = make_model(*tasks)
    begin(model, workspace, config, feed, SoloRanks())
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    Trainer(model, feed, SoloRanks(), config, checkpoints=Checkpoints(workspace, "same run")).fit()
    merge_adapters(model)
    return start, model.state_dict()


def changed(before: Weights, after: Weights) -> set[str]:
    return {name for name in after if name not in before or not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("way", ["full", "frozen", "lora"])
def test_what_changes(pretrained: Path, tmp_path: Path, way: str) -> None:
    config = CONFIG.model_copy(update={"tune": way, "lora_rank": 2})
    before, after = tune(pretrained, tmp_path, replace(FEED), config, "purchase", "session", "churn", "next_type")
    encoder = {name for name in changed(before, after) if name.startswith("encoder.")}
    adapted = {f"encoder.blocks.0.{place}.weight" for place in (
        "0.branch.to_qkv", "0.branch.to_out", "1.branch.gate_and_up", "1.branch.down")}
    if way == "full":
        assert encoder > adapted
    else:
        assert encoder == (set() if way == "frozen" else adapted)
    assert torch.equal(before["next_item.bias"], after["next_item.bias"])
    heads = {name.split(".")[1] for name in changed(before, after) if name.startswith("heads.")}
    assert heads == {"purchase", "session", "churn", "next_type"}


@pytest.mark.parametrize("way", ["full", "frozen", "lora"])
def test_a_stopped_fine_tuning_goes_on_to_the_identical_weights(pretrained: Path, tmp_path: Path, way: str) -> None:
    config = CONFIG.model_copy(update={"tune": way, "lora_rank": 2})
    expected = tune(pretrained, tmp_path / "whole", replace(FEED), config, *ALL)[1]
    with pytest.raises(KilledError):
        # the fit of heads at as-of points reads some batches before the first step
        tune(pretrained, tmp_path / "stopped", replace(FEED, fail_after=2 * FEED.steps("train") + 9), config, *ALL)
    assert list((tmp_path / "stopped").glob("step-*.json"))
    assert same(expected, tune(pretrained, tmp_path / "stopped", replace(FEED), config, *ALL)[1])


def test_it_begins_with_the_weights_of_the_start_and_heads_that_both_have(pretrained: Path, tmp_path: Path) -> None:
    model = make_model("item", "purchase")
    model.heads["purchase"].calibration.copy_(torch.tensor([2.0, 1.0]))
    torch.nn.init.normal_(model.heads["purchase"].outer.weight)
    save_file(model.state_dict(), tmp_path / "first.safetensors")
    keep_start(tmp_path / "work", tmp_path / "first.safetensors")
    second = make_model("purchase", "churn")
    begin(second, tmp_path / "work", CONFIG, replace(FEED), SoloRanks())
    assert torch.equal(second.heads["purchase"].outer.weight, model.heads["purchase"].outer.weight)
    assert torch.equal(second.heads["purchase"].linear.weight, model.heads["purchase"].linear.weight)
    assert second.heads["purchase"].calibration.tolist() == [1.0, 0.0]
    assert second.heads["churn"].linear.weight.any()  # at its logistic regression


@pytest.mark.parametrize("negatives", [0, 3])
def test_a_stopped_training_with_side_features_goes_on_to_the_identical_weights(tmp_path: Path, negatives: int) -> None:
    config = CONFIG.model_copy(update={"negatives": negatives, "item_dropout": 0.3})
    sides = Sides({"brand": np.arange(12) % 4}, np.ones((12, 2), np.float32))

    def train(workspace: Path, feed: MemoryFeed) -> Weights:
        model = make_model("item", num_known=10)
        begin(model, None, config, feed, SoloRanks(), sides)
        Trainer(model, feed, SoloRanks(), config, checkpoints=Checkpoints(workspace, "same run")).fit()
        return model.state_dict()

    expected = train(tmp_path / "whole", replace(KNOWN_FEED))
    with pytest.raises(KilledError):
        train(tmp_path / "stopped", replace(KNOWN_FEED, fail_after=11))
    assert same(expected, train(tmp_path / "stopped", replace(KNOWN_FEED)))
    assert not expected["encoder.embedding.item.own.weight"][10:].any()


def test_a_bundle_keeps_what_was_learned_of_side_features(pretrained: Path, tmp_path: Path) -> None:
    keep_start(tmp_path, pretrained)
    model = make_model("item")
    begin(model, tmp_path, CONFIG, replace(FEED), SoloRanks(), Sides({"brand": np.zeros(12, int)}, np.ones((12, 0))))
    assert isinstance(model.encoder.embedding.item, ItemTable)


def test_a_frozen_encoder_learns_without_dropout() -> None:
    model = make_model("purchase")
    model.train()
    assert model.encoder.training
    model.encoder.requires_grad_(False)
    model.train()
    assert not model.encoder.training
    assert model.heads["purchase"].training


def test_contradictions_are_told_together() -> None:
    config = load_config([], ["training.tune=frozen", "training.select_by=ndcg", "model.tasks=[purchase]"])
    with pytest.raises(ConfigError, match=r"(?s)training\.start_from.*training\.select_by=loss"):
        check_start(config)
