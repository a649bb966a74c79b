"""What one rank does from start to end: read the request, train, and (rank 0) leave weights and curves as files.

The request and the result cross the process border as JSON and safetensors; paths in them are absolute.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from purchasepath.config import Config, Model, Training
from purchasepath.datasets.manifest import Manifest
from purchasepath.datasets.shards import check_ranks
from purchasepath.datasets.sides import read_sides
from purchasepath.errors import UserError
from purchasepath.models.build import PurchasePathModel, build_model
from purchasepath.models.items import fuse_items
from purchasepath.models.low_rank import merge_adapters
from purchasepath.storage.files import sha256_json, write_file, write_json
from purchasepath.tables.tasks import TASK
from purchasepath.training.calibration import calibrate
from purchasepath.training.checkpoint import Checkpoints
from purchasepath.training.device import keep_freed_memory
from purchasepath.training.feed import DatasetFeed
from purchasepath.training.loop import Trainer
from purchasepath.training.ranks import Ranks
from purchasepath.training.start import begin, check_start, forget_start

_NOT_OF_THE_RESULT = {"ranks", "backend", "elastic", "resume", "timeout_minutes", "checkpoint_steps", "start_from",
                      "network_interface"}
"""Training knobs that do not change what is learned; a run may be resumed with other values of these. The bundle that
`start_from` names counts, not the name."""
_WEIGHTS = "weights.safetensors"
_RESULT = "result.json"


@dataclass(frozen=True)
class Request:
    """What to train, on what, and where to leave the result."""

    dataset: str
    dataset_version: str
    workspace: str
    start: str
    """version of the bundle whose weights the workspace holds to begin with; empty: fresh weights"""
    model: dict[str, Any]
    training: dict[str, Any]

    @staticmethod
    def of(config: Config, manifest: Manifest, start: str = "") -> Request:
        """The request of the configuration, for the dataset as it stands; raises where the ranks cannot share it."""
        check_start(config)
        check_ranks(
            num_groups=len(manifest.splits["train"]), num_ranks=config.training.ranks, lanes=config.training.lanes
        )
        return Request(
            dataset=str(Path(config.paths.dataset).resolve()),
            dataset_version=manifest.version,
            workspace=str(Path(config.paths.models).resolve() / ".training"),
            start=start,
            model=config.model.model_dump(mode="json"),
            training=config.training.model_dump(mode="json"),
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Request:
        return Request(**json.loads(text))

    def fingerprint(self, manifest: Manifest) -> str:
        """Equal for runs that learn the same thing: same model, same data, same training."""
        training = {key: value for key, value in self.training.items() if key not in _NOT_OF_THE_RESULT}
        return sha256_json({
            "model": self.model, "training": training, "dataset": manifest.fingerprint, "start": self.start,
        })


@dataclass(frozen=True)
class Result:
    """Best weights by name, each epoch's numbers (see `training/loop.py`), what calibration did."""

    weights: dict[str, Tensor]
    curves: list[dict[str, float]]
    best_epoch: int
    calibration: dict[str, float]

    @property
    def best(self) -> dict[str, float]:
        """The best epoch's numbers."""
        return next(curve for curve in self.curves if curve["epoch"] == self.best_epoch)

    @property
    def metrics(self) -> dict[str, float]:
        """What the bundle keeps: the best epoch's numbers and what calibration did."""
        return self.best | self.calibration

    def lines(self) -> list[str]:
        """For the job's summary."""
        best, found = self.best, self.calibration
        recall = f", recall@10 {best['valid_recall_10']:.4f}" if "valid_recall_10" in best else ""
        return [
            f"kept epoch {self.best_epoch} of {len(self.curves)}: validation loss {best['valid_loss']:.4f}{recall}",
            *(f"{q} probability = sigmoid({found[f'{q}_scale']:.3f} x logit {found[f'{q}_shift']:+.3f}): validation "
              f"loss {found[f'valid_{q}_loss_raw']:.4f} becomes {found[f'valid_{q}_loss_calibrated']:.4f}"
              for q in TASK if f"valid_{q}_loss_raw" in found),
            *(f"{q} = {found[f'{q}_scale']:.3f} x what the head expects: sums as on validation"
              for q in TASK if f"{q}_scale" in found and f"valid_{q}_loss_raw" not in found),
        ]

    def curve_rows(self, model_version: str) -> list[dict[str, Any]]:
        """Rows of TRAINING_CURVES; what was not defined (no validation targets, say) has none."""
        return [
            {"epoch": int(curve["epoch"]), "metric": name, "value": value, "model_version": model_version}
            for curve in self.curves
            for name, value in sorted(curve.items())
            if name != "epoch" and math.isfinite(value)
        ]


def train_on_rank(ranks: Ranks, request: str) -> None:
    """Trains this rank's copy of the model; rank 0 leaves the result in the workspace."""
    wanted = Request.from_json(request)
    config = Training.model_validate(wanted.training)
    manifest = load_manifest(Path(wanted.dataset), wanted.dataset_version)
    if ranks.size > 1:  # in-process, torch keeps the threads it has
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // ranks.local_size))
    keep_freed_memory()
    torch.manual_seed(config.seed)
    model = build_for(manifest, Model.model_validate(wanted.model))
    feed = DatasetFeed(Path(wanted.dataset), manifest, ranks, config)
    workspace = Path(wanted.workspace)
    sides = read_sides(Path(wanted.dataset), manifest)
    begin(model, workspace if wanted.start else None, config, feed, ranks, sides)
    trainer = Trainer(
        model,
        feed,
        ranks,
        config,
        checkpoints=Checkpoints(workspace, wanted.fingerprint(manifest)),
        report=lambda line: print(f"train: {line}", flush=True),
    )
    state = trainer.fit()
    merge_adapters(model)
    fuse_items(model)
    calibration = calibrate(model, feed, ranks, trainer.device)
    if ranks.rank == 0:
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        write_file(workspace / _WEIGHTS, lambda temporary: save_file(weights, temporary))
        write_json(workspace / _RESULT, {
            "curves": state.curves, "best_epoch": state.best_epoch, "calibration": calibration,
        })


def read_result(workspace: Path) -> Result:
    """What rank 0 left behind."""
    content = json.loads((workspace / _RESULT).read_text(encoding="utf-8"))
    return Result(load_file(workspace / _WEIGHTS), content["curves"], content["best_epoch"],
                  content["calibration"])


def clear_workspace(workspace: Path, *, checkpoints: bool) -> None:
    """Removes an earlier run's result and, where asked, its checkpoints."""
    for name in (_WEIGHTS, _RESULT):
        (workspace / name).unlink(missing_ok=True)
    if checkpoints:
        forget_start(workspace)
        Checkpoints(workspace, "").clear()


def build_for(manifest: Manifest, config: Model) -> PurchasePathModel:
    """A fresh model of the size that the dataset asks for."""
    return build_model(
        config,
        num_items=manifest.num_items,
        num_types=manifest.num_types,
        num_features=manifest.num_features,
        max_length=manifest.max_length,
        label_names=manifest.label_names,
        num_known=manifest.num_known,
    )


def load_manifest(directory: Path, version: str) -> Manifest:
    """The dataset's manifest, if it is still the version that training began with."""
    manifest = Manifest.load(directory)
    if manifest.version != version:
        raise UserError(
            f"the dataset in {directory} was replaced while training started (expected version {version}, "
            f"found {manifest.version}); start the training again: ./spark-submit.sh train"
        )
    return manifest
