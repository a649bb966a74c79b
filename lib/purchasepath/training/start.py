"""Where a training begins, and what of the model it changes.

A training begins with fresh weights or with those of an earlier one: encoder, item biases, and the heads that both
have. From there it changes everything (`full`), the heads alone (`frozen`), or the heads and small adapters of the
encoder's matrices (`lora`).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import load_file

from purchasepath.datasets.asked import learnable
from purchasepath.errors import ConfigError
from purchasepath.models.heads import CalibratedHead, PointHead
from purchasepath.models.items import add_side_features
from purchasepath.models.low_rank import add_adapters
from purchasepath.models.tasks import AtPoints
from purchasepath.training.init_heads import start_at_regression

if TYPE_CHECKING:
    from purchasepath.config import Config, Training
    from purchasepath.datasets.manifest import Manifest
    from purchasepath.datasets.sides import Sides
    from purchasepath.models.build import PurchasePathModel
    from purchasepath.training.feed import Feed
    from purchasepath.training.ranks import Ranks

_FILE = "start.safetensors"


def keep_learnable(config: Config, manifest: Manifest) -> tuple[Config, list[str]]:
    """The configuration without the tasks that the training span does not teach, and a line for each of these."""
    tasks, left_out = learnable(config.model.tasks, manifest.asked.get("train", {}))
    model = config.model.model_copy(update={"tasks": tasks})
    return config.model_copy(update={"model": model}), left_out


def check_start(config: Config) -> None:
    """Raises ConfigError with every contradiction between what is predicted, tuned and begun with."""
    training, faults = config.training, []
    if training.tune != "full" and not training.start_from:
        faults.append(f"training.tune={training.tune} leaves the encoder as it was trained before: say by which bundle "
                      f"with training.start_from (latest, a directory, or models:/<name>/<version>)")
    if training.select_by == "ndcg" and "item" not in config.model.tasks:
        faults.append("training.select_by=ndcg needs `item` among model.tasks; use training.select_by=loss")
    if training.tune == "frozen" and config.model.tasks == ("item",):
        faults.append("training.tune=frozen learns heads and model.tasks=[item] has none; add what is to be learned")
    if faults:
        raise ConfigError(faults)


def keep_start(workspace: Path, weights: Path | None) -> None:
    """Copies the weights to begin with, if there are any, to where every rank finds them."""
    if weights is not None:
        workspace.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(weights, workspace / _FILE)


def forget_start(workspace: Path) -> None:
    (workspace / _FILE).unlink(missing_ok=True)


def begin(
    model: PurchasePathModel, workspace: Path | None, config: Training, feed: Feed, ranks: Ranks,
    sides: Sides | None = None,
) -> None:
    """Sets the model's weights to those of the start in `workspace` (None: fresh ones), and what will change of them.

    Heads at as-of points that begin fresh begin at their regressions. Side features are learned together
    with fresh item vectors; earlier ones hold what was learned of them.
    """
    fresh = set(model.heads) if workspace is None else _load(model, workspace / _FILE)
    for name in model.heads:
        head, asked = model.heads[name], model.asked[name]
        if name in fresh and isinstance(head, PointHead) and isinstance(asked, AtPoints):
            start_at_regression(head, asked, feed, ranks)
    if config.tune == "lora":
        add_adapters(model.encoder, config.lora_rank)
    elif config.tune == "frozen":
        model.encoder.requires_grad_(False)
    if workspace is None and sides is not None:
        add_side_features(model, sides, config.item_dropout)
    if "item" not in model.tasks:
        model.next_item.requires_grad_(False)


def _load(model: PurchasePathModel, file: Path) -> set[str]:
    """The tasks whose heads the file does not have. Calibration begins anew: it belongs to the old weights."""
    missing, unexpected = model.load_state_dict(load_file(file), strict=False)
    foreign = [name for name in (*missing, *unexpected) if not name.startswith("heads.")]
    if foreign:
        raise ValueError(f"{file} holds the weights of another model: {', '.join(foreign[:5])}")
    for head in model.heads.values():
        if isinstance(head, CalibratedHead):
            head.reset_calibration()
    return {name.split(".")[1] for name in missing}
