"""Jobs on a standalone cluster whose executors stand in other directories, and what is told before the work.

A sample of benchmarks/cluster.py, in which every stage runs alone, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.cluster import WAYS, overrides, rows_of
from tests.distributed.cluster_jobs import SecureCluster, secure_cluster

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureCluster]:
    with secure_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the user stands: all paths are the defaults, relative to it."""
    return tmp_path_factory.mktemp("shop")


def test_a_pipeline_with_an_embedded_warehouse_reaches_its_report(cluster: SecureCluster, shop: Path) -> None:
    WAYS["pipeline-embedded"].run(cluster, shop, "pipeline")
    assert rows_of(shop, "score")["scores"] > 100
    assert (shop / "var/report/report.html").is_file()


def test_a_stage_alone_goes_on_from_what_a_pipeline_has_left_in_hive(cluster: SecureCluster, tmp_path: Path) -> None:
    WAYS["pipeline-hive"].run(cluster, tmp_path, "pipeline")
    assert WAYS["stages-hive"].run(cluster, tmp_path, "score")["scores"] > 100


@pytest.mark.parametrize(("stage", "knob"), [("dataset", "dataset"), ("sql", "warehouse")])
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
