"""A disk that fills up while a table is staged: one clear error, exit code 2, and the table as it was."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from purchasepath.config import Sessions, load_config
from purchasepath.job import Job, Summary, guarded, run_job
from purchasepath.sessions.engine.files import SessionFiles
from purchasepath.sessions.engine.rules import Timely
from purchasepath.sessions.engine.source import FileSource
from purchasepath.storage import open_warehouse
from purchasepath.tables.catalog import EVENTS, SESSIONS, USER_KEYS
from tests.sessions.oracle import t
from tests.sessions.test_files import write_events
from tests.sessions.test_sessionize import event

pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True,
                             check=False)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_is_one_clear_error_and_leaves_the_table(
    spark: SparkSession, small_disk: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = load_config([], [f"paths.warehouse={small_disk / 'warehouse'}", f"paths.runs={tmp_path / 'runs'}"])

    def keys(rows: int) -> int:
        def run(job: Job) -> Summary:
            hashed = "sha2(CAST({} AS STRING), 256)"
            ids = job.spark.range(0, rows, 1, 4).selectExpr(f"{hashed.format('id')} AS user_id",
                                                            f"{hashed.format('-id')} AS raw_id")
            with job.warehouse.transaction(job.run_id) as tx:
                return Summary({USER_KEYS.name: tx.write(USER_KEYS, ids)})

        return guarded(lambda: run_job(Job("ingest", config, spark=spark), run))

    assert keys(10) == 0
    assert keys(200_000) == 2
    told = capfd.readouterr().err
    assert "error: the disk is full: free some space (tables are as they were) and run this again" in told
    assert open_warehouse(spark, config).read(USER_KEYS).count() == 10
    assert not list((small_disk / "warehouse/staging").iterdir())


def test_tasks_that_write_files_themselves_tell_it_too(
    spark: SparkSession, small_disk: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = load_config([], [f"paths.warehouse={small_disk / 'warehouse'}", f"paths.runs={tmp_path / 'runs'}"])

    def sessions(number: int) -> int:
        """A session per event; of ids that no compression makes smaller than their bits."""
        ids = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(number)]
        events = write_events(tmp_path / f"events{number}", [[event(n, t(), event_id=name[:32], user_id=name)
                                                              for n, name in enumerate(ids)]])

        def run(job: Job) -> Summary:
            files = SessionFiles(FileSource(spark, EVENTS, events, Timely(Sessions())), Sessions())
            with job.warehouse.transaction(job.run_id) as tx:
                return Summary({SESSIONS.name: tx.write(SESSIONS, files)})

        return guarded(lambda: run_job(Job("sessionize", config, spark=spark), run))

    assert sessions(10) == 0
    assert sessions(60_000) == 2
    told = capfd.readouterr().err
    assert "error: the disk is full: free some space (tables are as they were) and run this again" in told
    assert open_warehouse(spark, config).read(SESSIONS).count() == 10
    assert not list((small_disk / "warehouse/staging").iterdir())
