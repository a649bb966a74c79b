"""A warehouse of release 0.1.0 is read by today's code, after one commit."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from purchasepath.config import load_config
from purchasepath.errors import TableMismatchError
from purchasepath.job import Job
from purchasepath.storage import open_warehouse
from purchasepath.tables.catalog import SCORES
from purchasepath.tables.migrations import MIGRATIONS

AT = datetime(2024, 2, 12, tzinfo=UTC)


def test_scores_of_before_become_rows_of_the_task_purchase_in_one_commit(spark: SparkSession, tmp_path: Path) -> None:
    config = load_config([], [f"paths.warehouse={tmp_path / 'warehouse'}"])
    [wide] = [migration.was for migration in MIGRATIONS if migration.table is SCORES]
    with open_warehouse(spark, config).transaction("of 0.1.0") as tx:
        tx.write(wide, wide.frame(spark, [
            {"user_id": user, "as_of": AT, "purchase_probability": probability, "num_events": 3, "horizon_hours": 168.0,
             "model_version": "v", "run_id": "r", "as_of_date": day, "model_name": "old"}
            for user, probability, day in (("u", 0.25, date(2024, 2, 12)), ("v", 0.5, date(2024, 2, 5)))]))
    with pytest.raises(TableMismatchError, match=r"(?s)column entity is missing.*any stage brings"):
        Job("sql", config, spark=spark, may_write=False).warehouse.read(SCORES)

    warehouse = Job("score", config, spark=spark).warehouse
    snapshot = warehouse.snapshot
    rows = warehouse.read(SCORES).orderBy("entity_id").collect()
    assert [(r.entity, r.entity_id, r.task, r.value, r.num_events, r.as_of_date, r.model_name) for r in rows] == [
        ("visitor", "u", "purchase", 0.25, 3, date(2024, 2, 12), "old"),
        ("visitor", "v", "purchase", 0.5, 3, date(2024, 2, 5), "old")]
    assert Job("analyze", config, spark=spark).warehouse.snapshot == snapshot  # once
