"""The whole path on public data sets, as `./spark-submit.sh pipeline --config conf/<name>.yaml` walks it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.pipeline import load_stage
from purchasepath.analyses.catalog import ALL_TABLES
from purchasepath.config import load_config
from purchasepath.job import Job, run_job
from purchasepath.pipeline import chosen_stages
from purchasepath.stages import PIPELINE
from purchasepath.storage import open_warehouse
from purchasepath.tables.catalog import METRICS, SCORES, USER_KEYS

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "retailrocket": "events/retailrocket/events.csv.gz",
    "rees46": "events/rees46/2019-Oct-head.csv.gz",
    "trivago": "events/trivago/actions-100k.parquet",
}
EVENTS_THERE = {"retailrocket": 104_776, "rees46": 17_435, "trivago": 100_003}
"""Raw rows by the data's own description."""


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FILES))
def test_the_whole_path_on_real_data(name: str, spark: SparkSession, shared_data: Path, tmp_path: Path) -> None:
    config = load_config([ROOT / "conf" / f"{name}.yaml"], [
        f"paths.raw={shared_data / FILES[name]}", "training.ranks=1", "training.epochs=1",
        f"tracking.uri=sqlite:///{tmp_path}/mlflow.db", f"tracking.artifacts={tmp_path}/artifacts",
        f"ingest.pseudonym_key_file={tmp_path}/key", f"paths.report={tmp_path}/report.html",
        *(f"paths.{part}={tmp_path}/{part}" for part in ("warehouse", "dataset", "models", "runs")),
    ])
    rows: dict[str, int] = {}
    for stage in chosen_stages(config, None, None):
        rows |= run_job(Job(stage, config, spark=spark), load_stage(stage).run).rows
    warehouse = open_warehouse(spark, config)
    assert set(warehouse.register(list(ALL_TABLES))) == {t.name for t in ALL_TABLES if t.written_by in PIPELINE}
    assert EVENTS_THERE[name] * 0.97 < rows["events"] <= EVENTS_THERE[name]
    assert rows["sessions"] < rows["events"]
    assert warehouse.read(SCORES).where("task = 'purchase'").count() == warehouse.read(USER_KEYS).count()
    recall = warehouse.read(METRICS).where("task = 'next_item' and metric = 'recall' and k = 20")
    assert {r.model for r in recall.collect()} == {"purchasepath", "popular_7d", "markov_1", "als"}
    assert "SYNTHETIC" not in (tmp_path / "report.html").read_text(encoding="utf-8")
