"""A short training of a tiny model on a tiny dataset; as a program, in a Spark session with a slot for every rank.

    python -m tests.distributed.training <directory> <name> training.ranks=4 …
"""

from __future__ import annotations

import sys
from pathlib import Path

from purchasepath.config import Config, load_config
from purchasepath.datasets.manifest import Manifest
from purchasepath.storage.session import build_session
from purchasepath.training.failures import Task
from purchasepath.training.launch import run_on_ranks
from purchasepath.training.rank_main import Request, Result, read_result, train_on_rank
from tests.tiny_dataset import write_dataset


def configure(directory: Path, name: str, *overrides: str) -> Config:
    """Of a run that leaves its result under `name`."""
    return load_config([], [
        f"paths.dataset={directory / 'dataset'}", f"paths.models={directory / name}", "model.width=16",
        "model.tasks=[item,purchase,session,churn,next_type]", "model.dropout=0.0", "training.epochs=1",
        "training.batch_size=32", "training.timeout_minutes=3", *overrides,
    ])


def write(directory: Path) -> Manifest:
    return write_dataset(directory / "dataset", train=150, valid=60, num_items=400)


def train(config: Config, spark: object, task: Task = train_on_rank) -> Result:
    request = Request.of(config, write(Path(config.paths.dataset).parent))
    run_on_ranks(task, request.to_json(), spark=lambda: spark, config=config.training)
    return read_result(Path(request.workspace))


if __name__ == "__main__":
    chosen = configure(Path(sys.argv[1]), *sys.argv[2:])
    train(chosen, build_session("ranks", chosen, master=f"local[{chosen.training.ranks}]"))
