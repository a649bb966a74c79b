"""RecTools' SASRec on given sequences, trained by RecTools' own loop: data loader, Lightning, Adam.

    <python of an environment with rectools[torch]> rectools_sasrec.py sequences.csv '{"epochs": 2, …}'

The file has a line `user,item` per event, each user's in order of time. Nothing of ours is imported: this runs in an
environment of its own. Prints one JSON value: what each epoch took, its mean loss, and the versions of what ran.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from importlib.metadata import version
from typing import Any

import pandas as pd
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel


class Stopwatch(Callback):
    """Seconds and CPU seconds of every training epoch."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.started = time.perf_counter(), time.process_time()

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        clock, cpu = self.started
        self.epochs.append({
            "seconds": time.perf_counter() - clock, "cpu_seconds": time.process_time() - cpu,
            "loss": float(trainer.callback_metrics["train_loss"]),
        })


def main(file: str, settings: dict[str, Any]) -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(settings["threads"])
    torch.manual_seed(0)
    stopwatch = Stopwatch()
    model = SASRecModel(
        n_blocks=settings["layers"], n_heads=settings["heads"], n_factors=settings["width"],
        dropout_rate=settings["dropout"], session_max_len=settings["max_length"], batch_size=settings["batch_size"],
        loss="softmax", lr=settings["learning_rate"], dataloader_num_workers=0,
        get_trainer_func=lambda: Trainer(
            max_epochs=settings["epochs"], accelerator="cpu", devices=1, callbacks=[stopwatch], logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        ),
    )
    model.fit(dataset_from(file))
    fitted = [callback for callback in model.fit_trainer.callbacks if isinstance(callback, Stopwatch)]
    print(json.dumps({
        "epochs": fitted[0].epochs,
        "versions": {name: version(name) for name in ("rectools", "pytorch-lightning", "torch")},
    }))


def dataset_from(file: str) -> Dataset:
    """RecTools' data set of the sequences; an event's time is its place in the file."""
    events = pd.read_csv(file)
    return Dataset.construct(pd.DataFrame({
        Columns.User: events["user"], Columns.Item: events["item"], Columns.Weight: 1.0,
        Columns.Datetime: pd.to_datetime(range(len(events)), unit="s"),
    }))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
