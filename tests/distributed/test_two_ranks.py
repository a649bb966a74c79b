from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from purchasepath.config import load_config
from purchasepath.errors import UserError
from purchasepath.training.failures import LostRankError
from purchasepath.training.launch import run_on_ranks
from purchasepath.training.loop import Trainer
from purchasepath.training.rank_main import Request, Result, read_result, train_on_rank
from purchasepath.training.ranks import Ranks
from tests.conftest import ROOT
from tests.distributed.training import configure, train, write

TOLERANCE = 1e-5
"""Largest difference of a weight after an epoch: the order of float32 additions differs, nothing else."""


BOUND_SECONDS = 90
"""From the start of a training to its end by a killed rank; most of it is the start of the ranks."""
BACKENDS = ("horovod", "torch")


@pytest.mark.parametrize(("backend", "negatives"), [
    ("horovod", 0), ("torch", 40),  # all rows of the item table are exchanged, and those that a step touches
    pytest.param("horovod", 40, marks=pytest.mark.slow), pytest.param("torch", 0, marks=pytest.mark.slow),
])
def test_two_ranks_learn_what_one_rank_learns(
    spark: object, tmp_path: Path, capsys: pytest.CaptureFixture[str], backend: str, negatives: int
) -> None:
    one = train(configure(tmp_path, "one", "training.ranks=1", f"training.negatives={negatives}"), spark)
    two = train(configure(tmp_path, "two", "training.ranks=2", f"training.backend={backend}",
                          f"training.negatives={negatives}"), spark)
    assert_equal_but_for_rounding(one, two)
    if backend == "horovod":  # what torch's ranks print, Spark's JVM passes on
        assert capsys.readouterr().out.count("epoch 1/1") == 2  # one line per run: rank 1 keeps quiet


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("ranks", [3, 4])
def test_more_ranks_learn_what_one_rank_learns(tmp_path: Path, backend: str, ranks: int) -> None:
    one = train(configure(tmp_path, "one", "training.ranks=1"), None)
    # a session of its own: it needs a slot for every rank
    overrides = [f"training.ranks={ranks}", f"training.backend={backend}"]
    subprocess.run([sys.executable, "-m", "tests.distributed.training", str(tmp_path), "many", *overrides], check=True,
                   timeout=300, cwd=ROOT)
    many = read_result(Path(Request.of(configure(tmp_path, "many", *overrides), write(tmp_path)).workspace))
    assert_equal_but_for_rounding(one, many)


def assert_equal_but_for_rounding(one: Result, many: Result) -> None:
    differences = [(one.weights[name] - many.weights[name]).abs().max().item() for name in one.weights]
    assert max(differences) < TOLERANCE
    assert any(d > 0 for d in differences)  # the second run really added in another order
    for name in ("train_loss", "valid_loss", "valid_recall_10"):
        assert many.best[name] == pytest.approx(one.best[name], rel=1e-4)


def _gather(ranks: Ranks, request: str) -> None:
    """Tensors of 0, 1, 2 … numbers; every rank raises where it is not given all of them."""
    found = ranks.gather(torch.full((ranks.rank,), ranks.rank, dtype=torch.int32))
    assert found.tolist() == [rank for rank in range(ranks.size) for _ in range(rank)], found
    assert found.dtype is torch.int32
    assert not len(ranks.gather(torch.zeros(0)))


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_tensors_of_different_lengths_are_gathered_in_the_order_of_ranks(spark: object, backend: str) -> None:
    config = load_config([], ["training.ranks=2", f"training.backend={backend}"]).training
    run_on_ranks(_gather, "", spark=lambda: spark, config=config)


def _fail(ranks: Ranks, request: str) -> None:
    if ranks.rank == 1:
        raise UserError(f"the second rank has had enough of {request}")
    ranks.sum_(torch.zeros(1))


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_rank_that_fails_ends_the_run_and_its_reason_is_told(spark: object, backend: str) -> None:
    config = load_config([], ["training.ranks=2", f"training.backend={backend}"]).training
    with pytest.raises(UserError, match=r"^the second rank has had enough of this$"):
        run_on_ranks(_fail, "this", spark=lambda: spark, config=config)


def _train_and_die(ranks: Ranks, request: str) -> None:
    """Rank 1 is killed in the middle of the second epoch, at its update 8."""
    update = Trainer.update

    def dying_update(trainer: Trainer, *batches: Any) -> None:
        if ranks.rank == 1 and trainer.state.updates == 8:
            os.kill(os.getpid(), signal.SIGKILL)
        update(trainer, *batches)

    Trainer.update = dying_update  # type: ignore[method-assign]
    try:
        train_on_rank(ranks, request)
    finally:
        Trainer.update = update  # type: ignore[method-assign]


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of Horovod's Spark job thread
def test_a_killed_rank_ends_the_run_and_the_next_start_goes_on_to_the_same_weights(
    spark: object, tmp_path: Path, backend: str
) -> None:
    several = ("training.ranks=2", f"training.backend={backend}", "training.epochs=3", "training.checkpoint_steps=2",
               "model.dropout=0.1")
    unfailed = train(configure(tmp_path, "unfailed", *several), spark)
    config = configure(tmp_path, "killed", *several)
    started = time.monotonic()
    with pytest.raises(LostRankError, match=r"training on 2 ranks ended.* goes on from its last checkpoint"):
        train(config, spark, _train_and_die)
    assert time.monotonic() - started < BOUND_SECONDS
    left = max((tmp_path / "killed" / ".training").glob("step-*.json"))
    state = json.loads(left.read_text(encoding="utf-8"))["state"]
    assert state["epoch"] == 1
    assert state["step"] in (1, 3)  # rank 0 may have been ended while it wrote the later one
    resumed = train(config, spark)
    assert resumed.curves[0] == state["curves"][0]  # its speed too: the first epoch was not trained again
    assert all(torch.equal(unfailed.weights[name], resumed.weights[name]) for name in unfailed.weights)
