"""kill -9 of executors in the middle of sessionize, features and dataset on a real cluster: nothing is lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pyarrow.parquet as pq
import pyspark.sql.functions as F
import pytest
from pyspark.sql import DataFrame, SparkSession

from jobs import dataset, features, ingest, sessionize, simulate
from purchasepath.config import Config, load_config
from purchasepath.job import Job
from purchasepath.storage import open_warehouse
from purchasepath.tables.catalog import SESSIONS
from purchasepath.tables.features import FEATURE_TABLES
from tests.faults.cluster import Cluster, kill_executors, standalone_cluster

KILLS_PER_JOB = 4
SEED = 20240101

pytestmark = pytest.mark.slow


def overrides(scratch: Path) -> list[str]:
    paths = [f"paths.{name}={scratch / name}" for name in ("raw", "warehouse", "runs", "dataset")]
    return [*paths, f"ingest.pseudonym_key_file={scratch / 'key'}", "simulate.users=1500", "simulate.days=28",
            "spark.shuffle_partitions=12", "dataset.rows_per_group=64"]


@pytest.fixture(scope="module")
def calm(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which all jobs ran undisturbed, and `events`: a copy of the warehouse before sessionize."""
    scratch = tmp_path_factory.mktemp("calm")
    config = load_config([], overrides(scratch))
    for name, stage in (("simulate", simulate), ("ingest", ingest)):
        stage.run(Job(name, config, spark=spark))
    shutil.copytree(scratch / "warehouse", scratch / "events", symlinks=True)
    for name, stage in (("sessionize", sessionize), ("features", features), ("dataset", dataset)):
        stage.run(Job(name, config, spark=spark))
    return scratch


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with standalone_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


def test_tables_are_identical_whatever_executors_are_lost(
    calm: Path, cluster: Cluster, spark: SparkSession, tmp_path: Path
) -> None:
    shutil.copytree(calm / "events", tmp_path / "warehouse", symlinks=True)
    random, killed = Random(SEED), 0
    options = [part for override in overrides(tmp_path) for part in ("--set", override)]
    for name in ("sessionize", "features", "dataset"):
        job = cluster.submit(name, options, tmp_path / f"{name}.log")
        killed += kill_executors(cluster, job, kills=KILLS_PER_JOB, random=random)
        assert job.wait(300) == 0, (tmp_path / f"{name}.log").read_text()[-3000:]
    print(f"executors killed: {killed}")
    assert killed >= 10
    left, right = load_config([], overrides(calm)), load_config([], overrides(tmp_path))
    assert contents(spark, left) == contents(spark, right)
    assert examples(calm / "dataset") == examples(tmp_path / "dataset")


def contents(spark: SparkSession, config: Config) -> dict[str, tuple[int, int]]:
    warehouse = open_warehouse(spark, config)
    return {table.name: digest(warehouse.read(table)) for table in (SESSIONS, *FEATURE_TABLES)}


def digest(frame: DataFrame) -> tuple[int, int]:
    """Rows and the sum of their hashes: equal for equal rows in any order."""
    total = F.sum(F.xxhash64(*frame.columns).cast("decimal(38,0)"))
    row = frame.agg(F.count(F.lit(1)), total).first()
    assert row is not None
    return int(row[0]), int(row[1])


def examples(directory: Path) -> list[dict[str, object]]:
    """Every row of the dataset that its manifest points at, in the order of the files."""
    files = sorted(directory.rglob("*.parquet"), key=lambda file: (file.parent.name, file.name))
    return [row for file in files for row in pq.read_table(file, partitioning=None).to_pylist()]
