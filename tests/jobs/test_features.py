"""features: three tables from SESSIONS in one transaction."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs import features
from purchasepath.config import Sessions, load_config
from purchasepath.errors import InputError, TableMissingError
from purchasepath.job import Job
from purchasepath.sessions.summary import sessionize
from purchasepath.tables.catalog import EVENTS, SESSIONS
from purchasepath.tables.features import FEATURE_TABLES, ITEM_FEATURES, USER_FEATURE_NAMES, USER_FEATURES

T0 = datetime(2024, 1, 1, 12, tzinfo=UTC)


def open_job(spark: SparkSession, scratch: Path) -> Job:
    return Job("features", load_config([], [f"paths.warehouse={scratch / 'warehouse'}", "features.every_hours=24"]),
               spark=spark)


def write_sessions(job: Job, events: list[dict[str, object]]) -> None:
    with job.warehouse.transaction("sessionize") as tx:
        tx.write(SESSIONS, sessionize(EVENTS.frame(job.spark, events), Sessions()))


def test_three_tables_and_their_summary(spark: SparkSession, tmp_path: Path) -> None:
    job = open_job(spark, tmp_path)
    write_sessions(job, [
        {"event_id": f"e{n}", "user_id": f"u{n % 2}", "event_ts": at, "arrived_at": at, "event_type": "view",
         "item_id": f"i{n % 3}", "category": "c", "price": 1.0 + n % 3}
        for n, at in enumerate(T0 + timedelta(hours=9 * k) for k in range(6))])  # until 2024-01-03 09:00

    summary = features.run(job)

    assert summary.rows == {t.name: job.warehouse.read(t).count() for t in FEATURE_TABLES}
    assert summary.rows == {"user_features": 6, "item_features": 8, "session_features": 6}
    assert summary.lines == [
        "as of 3 times, 2024-01-02 00:00 to 2024-01-04 00:00 UTC, every 24 h",
        f"features: {len(USER_FEATURE_NAMES)} per user, 27 per item, 28 per session",
    ]
    row = job.warehouse.read(USER_FEATURES).where("user_id = 'u0' AND as_of_date = '2024-01-04'").first()
    assert row is not None
    assert (row["views_1d"], row["views_7d"], row["days_since_event_30d"]) == (1, 3, 1.0)
    places = job.warehouse.read(ITEM_FEATURES).where("as_of_date = '2024-01-04'").orderBy("item_id").collect()
    assert [r["price_position_30d"] for r in places] == [0, 0.5, 1]


def test_without_sessions_features_says_what_to_do(spark: SparkSession, tmp_path: Path) -> None:
    job = open_job(spark, tmp_path)
    with pytest.raises(TableMissingError, match=r"spark-submit\.sh sessionize"):
        features.run(job)
    write_sessions(job, [])
    with pytest.raises(InputError, match="table sessions is empty"):
        features.run(open_job(spark, tmp_path))
