from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from purchasepath.config import load_config
from purchasepath.errors import UserError
from purchasepath.training.launch import run_on_ranks
from purchasepath.training.ranks import Ranks
from purchasepath.training.task import Request, Result, read_result, train_on_rank
from tests.tiny_dataset import write_dataset

TOLERANCE = 1e-5
"""Largest difference of a weight after an epoch: the order of float32 additions differs, nothing else."""


def train(directory: Path, spark: object, num_ranks: int) -> Result:
    config = load_config([], [
        f"paths.dataset={directory / 'dataset'}", f"paths.models={directory / f'models-{num_ranks}'}",
        "model.width=16", "model.dropout=0.0", "training.epochs=1", "training.batch_size=32",
        f"training.ranks={num_ranks}", "training.timeout_minutes=3",
    ])
    manifest = write_dataset(directory / "dataset", train=150, valid=60)
    request = Request.of(config, manifest)
    run_on_ranks(train_on_rank, request.to_json(), spark=lambda: spark, config=config.training)
    return read_result(Path(request.workspace))


def test_two_horovod_ranks_learn_what_one_rank_learns(
    spark: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = train(tmp_path, spark, 1), train(tmp_path, spark, 2)
    differences = [(one.weights[name] - two.weights[name]).abs().max().item() for name in one.weights]
    assert max(differences) < TOLERANCE
    assert any(d > 0 for d in differences)  # the second run really added in another order
    for name in ("train_loss", "valid_loss", "valid_recall_10"):
        assert two.best[name] == pytest.approx(one.best[name], rel=1e-4)
    printed = capsys.readouterr().out
    assert printed.count("epoch 1/1") == 2  # one line per run: rank 1 keeps quiet
    print(f"largest difference of a weight: {max(differences):.2e}")


def _fail(ranks: Ranks, request: str) -> None:
    if ranks.rank == 1:
        raise UserError(f"the second rank has had enough of {request}")
    ranks.sum_(torch.zeros(1))


@pytest.mark.slow
def test_a_rank_that_fails_ends_the_run_and_its_reason_is_told(spark: object) -> None:
    config = load_config([], ["training.ranks=2"]).training
    with pytest.raises(UserError, match=r"^the second rank has had enough of this$"):
        run_on_ranks(_fail, "this", spark=lambda: spark, config=config)


def _die(ranks: Ranks, request: str) -> None:
    if ranks.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    ranks.sum_(torch.zeros(1))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of Horovod's Spark job thread
def test_a_killed_rank_ends_the_run(spark: object) -> None:
    config = load_config([], ["training.ranks=2"]).training
    with pytest.raises(RuntimeError, match="training on 2 ranks failed"):
        run_on_ranks(_die, "", spark=lambda: spark, config=config)
