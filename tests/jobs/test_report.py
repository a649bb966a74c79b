"""report: a file from the tables there are."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs import report
from purchasepath.analyses.transitions import TRANSITIONS
from purchasepath.config import load_config
from purchasepath.job import Job, guarded
from purchasepath.tables.catalog import INGEST_BOOKS, SESSIONS


def test_report_is_written_from_the_tables_there_are_and_names_the_others(spark: SparkSession, tmp_path: Path) -> None:
    target = tmp_path / "made" / "report.html"
    job = Job("report", load_config([], [f"paths.warehouse={tmp_path / 'warehouse'}", f"paths.report={target}"]),
              spark=spark)
    with job.warehouse.transaction("earlier") as tx:
        books = {"run_id": "1", "source": "simulated", "read": 5, "accepted": 5, "history": "replace"}
        tx.write(INGEST_BOOKS, INGEST_BOOKS.frame(spark, [books]))
        tx.write(TRANSITIONS, TRANSITIONS.frame(spark, [
            {"from_state": "start", "to_state": "view", "transitions": 5, "probability": 1.0},
            {"from_state": "view", "to_state": "leave", "transitions": 5, "probability": 1.0}]))

    summary = report.run(job)

    html = target.read_text(encoding="utf-8")
    assert "SYNTHETIC DATA" in html
    assert 'data-figure="figure-transitions"' in html
    assert "without table sessions; write it with ./spark-submit.sh sessionize" in summary.lines
    assert not any("transitions" in line for line in summary.lines)


def test_days_are_those_of_utc_wherever_the_machine_stands(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, late = tmp_path / "report.html", datetime(2023, 1, 1, 23, 30, tzinfo=UTC)
    job = Job("report", load_config([], [f"paths.warehouse={tmp_path / 'warehouse'}", f"paths.report={target}"]),
              spark=spark)
    with job.warehouse.transaction("earlier") as tx:
        tx.write(SESSIONS, SESSIONS.frame(spark, [
            {"session_id": "s", "user_id": "u", "started_at": late, "ended_at": late, "session_date": date(2023, 1, 1),
             "num_events": 1, "is_bot": False}]))
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    assert guarded(lambda: report.run(job)) == 0
    assert "From 1 January 2023 to 1 January 2023, 1 visitors" in target.read_text(encoding="utf-8")
