from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from purchasepath.storage.session import build_session
from purchasepath.training.loop import Trainer
from purchasepath.training.rank_main import Request, read_result, train_on_rank
from purchasepath.training.ranks import HorovodRanks
from tests.conftest import ROOT
from tests.distributed.training import configure, train, write

TOLERANCE = 1e-5
"""Largest relative difference of a loss: the order of float32 additions differs while there is one rank."""
BOUND_SECONDS = 240
KILLED_AT = 8
ALONE_SECONDS = 90
ELASTIC = ("training.ranks=2", "training.elastic=true", "training.epochs=6", "training.patience=6",
           "training.checkpoint_steps=2")


@pytest.mark.slow
def test_training_goes_on_without_a_killed_rank_and_takes_in_another_one(tmp_path: Path) -> None:
    unfailed = train(configure(tmp_path, "unfailed", *ELASTIC, "training.ranks=1", "training.elastic=false"), None)
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "tests.distributed.test_elastic", str(tmp_path)], check=False,
                          timeout=BOUND_SECONDS, cwd=ROOT, text=True, stdout=subprocess.PIPE)
    print(done.stdout, f"{time.monotonic() - started:.0f} s")
    assert done.returncode == 0
    told = [line for line in done.stdout.splitlines() if "ranks changed" in line]
    assert told == ["train: the ranks changed from 2 to 1", "train: the ranks changed from 1 to 2"]
    failed = read_result(Path(Request.of(configure(tmp_path, "failed", *ELASTIC), write(tmp_path)).workspace))
    assert [curve["epoch"] for curve in failed.curves] == [1, 2, 3, 4, 5, 6]
    for expected, found in zip(unfailed.curves, failed.curves, strict=True):
        for loss in ("train_loss", "valid_loss"):
            assert found[loss] == pytest.approx(expected[loss], rel=TOLERANCE)


def _lose_one(ranks: HorovodRanks, request: str) -> None:
    """Of two ranks the second is killed in the middle of an epoch; the first waits a little once it is alone."""
    update = Trainer.update

    def failing_update(trainer: Trainer, *batches: Any) -> None:
        updates, deadline = trainer.state.updates, time.monotonic() + ALONE_SECONDS
        if ranks.rank == 1 and updates == KILLED_AT:
            os.kill(os.getpid(), signal.SIGKILL)
        while ranks.size == 1 and updates > KILLED_AT and not ranks.newcomers() and time.monotonic() < deadline:
            time.sleep(0.1)
        update(trainer, *batches)

    Trainer.update = failing_update  # type: ignore[method-assign]
    try:
        train_on_rank(ranks, request)
    finally:
        Trainer.update = update  # type: ignore[method-assign]


if __name__ == "__main__":
    config = configure(Path(sys.argv[1]), "failed", *ELASTIC)
    train(config, build_session("elastic", config, master="local[2,4]"), _lose_one)
