"""The simulate job writes the configured shop and reports what it wrote."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import SparkSession

from jobs.simulate import run
from purchasepath.config import load_config
from purchasepath.job import Job


def test_the_summary_counts_what_lies_in_paths_raw_and_says_synthetic(spark: SparkSession, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    config = load_config([], [f"paths.raw={raw}", "simulate.users=30", "simulate.days=7", "simulate.items=40"])
    summary = run(Job("simulate", config, spark=spark))
    assert summary.rows["raw lines"] == spark.read.text(str(raw / "events")).count()
    assert summary.rows["truth/visitors"] == 30
    assert "SYNTHETIC" in summary.lines[0]
    assert summary.next.endswith("ingest --set ingest.history=replace")
