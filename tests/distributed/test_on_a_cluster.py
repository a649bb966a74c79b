"""Jobs on a standalone cluster whose executors stand in other directories, and what is told before the work.

All stages in one driver with the embedded warehouse and ranks of Horovod; each alone with Hive and ranks of torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from purchasepath.pipeline import STAGES
from tests.distributed.cluster_jobs import SecureCluster, secure_cluster
from tests.distributed.sockets import exposed

pytestmark = pytest.mark.slow

SMALL = ("simulate.users=150", "simulate.days=28", "dataset.rows_per_group=32", "model.width=16", "model.layers=1",
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


@pytest.fixture(scope="module")
def hive_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hive-shop")


def rows_of(shop: Path, job: str) -> dict[str, int]:
    """What the newest run of a job says that it has written."""
    newest = max((shop / "var/runs").glob(f"*-{job}-*.json"))
    return dict(json.loads(newest.read_text(encoding="utf-8"))["rows"])


def test_a_pipeline_reaches_its_scores_and_listens_on_loopback_alone(cluster: SecureCluster, shop: Path) -> None:
    done = cluster.run("pipeline", *overrides(), stand_in=shop)
    assert done.code == 0, done.output[-4000:]
    assert rows_of(shop, "score")["scores"] > 100
    assert (shop / "var/report/report.html").is_file()
    assert done.listened
    assert not exposed(done.listened)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_alone_goes_on_from_what_another_command_has_left_in_hive(
    cluster: SecureCluster, hive_shop: Path, stage: str
) -> None:
    metastore = f"jdbc:derby:;databaseName={hive_shop / 'metastore'};create=true"
    done = cluster.run(
        stage, *overrides("warehouse.catalog=hive", "training.backend=torch",
                          f"spark.conf.spark.hadoop.javax.jdo.option.ConnectionURL={metastore}"),
        stand_in=hive_shop,
        options=["--driver-java-options", f"-Dderby.stream.error.file={hive_shop / 'derby.log'}"])
    assert done.code == 0, done.output[-4000:]
    assert all(rows_of(hive_shop, stage).values())
    assert not exposed(done.listened)


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
