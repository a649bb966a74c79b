"""The dataset job: reads the warehouse, writes the dataset, tells what it did."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.dataset import run
from purchasepath.config import load_config
from purchasepath.datasets.asked import NothingToLearnError
from purchasepath.datasets.manifest import Manifest
from purchasepath.errors import TableMissingError
from purchasepath.job import Job
from purchasepath.tables.catalog import SESSIONS
from purchasepath.tables.features import USER_FEATURES
from purchasepath.tables.partials import USER_PARTIALS
from tests.datasets.shop import Event, features_at, partials_of, sessions_of


def test_the_job_writes_a_dataset_and_sums_it_up(spark: SparkSession, tmp_path: Path) -> None:
    config = load_config([], [
        f"paths.warehouse={tmp_path / 'warehouse'}", f"paths.dataset={tmp_path / 'dataset'}", "features.every_hours=24",
        "dataset.horizon_hours=24", "dataset.valid_hours=24", "dataset.test_hours=24", "dataset.rows_per_group=4",
    ])
    job = Job("dataset", config, spark=spark)
    with pytest.raises(TableMissingError, match=r"spark-submit\.sh sessionize"):
        run(job)

    chance = random.Random(3)
    events = [Event(f"u{n % 9}", round(chance.random() * 140, 3), f"i{chance.randrange(5)}") for n in range(150)]
    with job.warehouse.transaction("before") as tx:
        tx.write(SESSIONS, sessions_of(spark, events))
        tx.write(USER_PARTIALS, partials_of(sessions_of(spark, events)))
        tx.write(USER_FEATURES, features_at(spark, [(f"u{n}", h, 1.0) for n in range(9) for h in range(24, 145, 24)]))
    summary = run(job)

    manifest = Manifest.load(tmp_path / "dataset")
    assert manifest.version == job.run_id
    assert manifest.vocabulary_path(tmp_path / "dataset").is_file()
    assert manifest.source == "simulated"
    assert summary.rows == {f"examples ({split})": manifest.rows(split) for split in ("train", "valid", "test")}
    assert manifest.num_items == 8
    assert summary.events == len(events)
    assert any(line.startswith("vocabulary: 5 items") for line in summary.lines)


def test_a_shop_without_purchases_is_told_and_what_cannot_be_learned_refused(
    spark: SparkSession, tmp_path: Path
) -> None:
    paths = [f"paths.warehouse={tmp_path / 'warehouse'}", f"paths.dataset={tmp_path / 'dataset'}"]
    hours = ["features.every_hours=24", *(f"dataset.{name}_hours=24" for name in ("horizon", "valid", "test"))]
    job = Job("dataset", load_config([], [*paths, *hours]), spark=spark)
    events = [Event(f"u{n % 9}", n * 0.9, f"i{n % 5}" if n < 130 else "new") for n in range(150)]  # to hour 134.1
    with job.warehouse.transaction("before") as tx:
        tx.write(SESSIONS, sessions_of(spark, events))
        tx.write(USER_PARTIALS, partials_of(sessions_of(spark, events)))
        tx.write(USER_FEATURES, features_at(spark, [(f"u{n}", h, 1.0) for n in range(9) for h in range(24, 145, 24)]))
    lines = run(job).lines
    manifest = Manifest.load(tmp_path / "dataset")
    assert manifest.boundaries.test_end == "2024-01-06T00:00:00+00:00"  # 120 h: what happens in 120-144 is not known
    assert manifest.asked["train"]["purchase"].yes == 0
    assert manifest.asked["test"]["purchase"].places == 9  # at 96, horizon to 120; not at 120
    assert any(line.startswith("test asks: item ") and "purchase 9 (0 yes)" in line for line in lines)
    # 27 events of 96-120, after the last one before of each of nine users; items of the last four are new
    assert any(line.startswith("test: ") and "of 36 with an item 11.11% are out" in line for line in lines)
    assert any(line.startswith("purchase is left out of the model: the answer is no at all of its ") for line in lines)
    with pytest.raises(NothingToLearnError, match=r"--set model\.tasks=\[item,"):
        run(Job("dataset", load_config([], [*paths, *hours, "model.tasks=[purchase]"]), spark=spark))
    assert Manifest.load(tmp_path / "dataset") == manifest
