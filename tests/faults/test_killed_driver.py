"""kill -9 of a whole local run at random moments: the table is the old one or the new one, and the next run repairs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from pyspark.sql import SparkSession

from jobs import ingest, sessionize, simulate
from purchasepath.config import load_config
from purchasepath.job import Job
from purchasepath.storage import open_warehouse
from purchasepath.tables.catalog import SESSIONS
from tests.faults.cluster import local_run
from tests.faults.test_lost_executors import digest

KILLS = 5
SEED = 5

pytestmark = pytest.mark.slow


def overrides(scratch: Path) -> list[str]:
    return [*(f"paths.{name}={scratch / name}" for name in ("raw", "warehouse", "runs")),
            f"ingest.pseudonym_key_file={scratch / 'key'}", "simulate.users=1500", "simulate.days=14"]


def test_a_driver_killed_at_any_moment_leaves_the_old_table_or_the_new_one(spark: SparkSession, tmp_path: Path) -> None:
    def run(stage: object, *more: str) -> None:
        stage.run(Job("x", load_config([], [*overrides(tmp_path), *more]), spark=spark))  # type: ignore[attr-defined]

    def sessions(scratch: Path) -> tuple[int, int]:
        return digest(open_warehouse(spark, load_config([], overrides(scratch))).read(SESSIONS))

    other_rules = "sessions.gap_minutes=5"
    run(simulate)
    run(ingest)
    run(sessionize, other_rules)
    new = sessions(tmp_path)
    run(sessionize)
    old = sessions(tmp_path)
    assert old != new
    options = [part for override in (*overrides(tmp_path), other_rules) for part in ("--set", override)]

    shutil.copytree(tmp_path / "warehouse", tmp_path / "before", symlinks=True)
    whole = local_run("sessionize", options, tmp_path / "whole.log")
    began = wait_for_staging(tmp_path / "warehouse", whole)
    assert whole.wait(300) == 0
    seconds = time.monotonic() - began
    random, seen = Random(SEED), []
    for attempt in range(KILLS):
        shutil.rmtree(tmp_path / "warehouse")
        shutil.copytree(tmp_path / "before", tmp_path / "warehouse", symlinks=True)
        job = local_run("sessionize", options, tmp_path / f"{attempt}.log")
        wait_for_staging(tmp_path / "warehouse", job)
        time.sleep(seconds * (attempt + random.random()) / KILLS)  # one in each part of the run, also before its commit
        with suppress(ProcessLookupError):  # it may have ended by then
            os.killpg(job.pid, signal.SIGKILL)
        job.wait()
        found = sessions(tmp_path)
        assert found in (old, new)
        seen.append("new" if found == new else "old")
        run(sessionize, other_rules)
        assert sessions(tmp_path) == new
        assert not list((tmp_path / "warehouse/staging").iterdir())
    assert "old" in seen
    print(f"after the kills: {seen}")


def wait_for_staging(warehouse: Path, job: subprocess.Popen[bytes]) -> float:
    """When the job began to stage files."""
    while not list((warehouse / "staging").glob("*")):
        assert job.poll() is None, "the job ended before it staged anything"
        time.sleep(0.05)
    return time.monotonic()
