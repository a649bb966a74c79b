"""What jobs on a standalone cluster tell before they work, where executors stand in other directories."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.distributed.cluster_jobs import SecureCluster, secure_cluster

pytestmark = pytest.mark.slow

SMALL = ("simulate.users=200", "simulate.days=28", "dataset.rows_per_group=32", "model.width=16", "model.layers=1",
         "training.epochs=1", "training.timeout_minutes=2", "spark.shuffle_partitions=2",
         "evaluate.baselines=[popular_7d,markov_1]")


def overrides(*more: str) -> list[str]:
    return [part for override in (*SMALL, *more) for part in ("--set", override)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureCluster]:
    with secure_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the user stands: all paths are the defaults, relative to it."""
    return tmp_path_factory.mktemp("shop")


@pytest.mark.parametrize(("stage", "knob"), [("dataset", "dataset"), ("train", "models"), ("sql", "warehouse")])
def test_a_path_that_executors_do_not_reach_is_told_before_the_work(
    cluster: SecureCluster, shop: Path, stage: str, knob: str
) -> None:
    (shop / "elsewhere/here").mkdir(parents=True, exist_ok=True)
    own = f"paths.{knob}=/proc/self/cwd/elsewhere"  # in every process another directory
    done = cluster.run(stage, *overrides(own), stand_in=shop)
    assert done.code == 2, done.output[-4000:]
    assert f"paths.{knob} (/proc/self/cwd/elsewhere) on " in done.output
    assert "paths that every node mounts" in done.output
    assert [file.name for file in (shop / "elsewhere").iterdir()] == ["here"]


def test_a_driver_without_the_cluster_s_secret_is_told_what_it_needs(
    cluster: SecureCluster, shop: Path, tmp_path: Path
) -> None:
    stranger = replace(cluster, environment={**cluster.environment, "SPARK_CONF_DIR": str(tmp_path)})
    done = stranger.run("report", *overrides(), stand_in=shop)
    assert done.code == 2, done.output[-4000:]
    assert "put spark.authenticate.secret into the cluster's spark-defaults.conf" in done.output
