"""sessionize: the simulated shop's true sessions, exactly; a summary that says what was cut and why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyspark.sql.functions as F
import pytest
from pyspark.sql import SparkSession

from jobs import ingest, sessionize, simulate
from purchasepath.config import load_config
from purchasepath.errors import TableMissingError
from purchasepath.job import Job
from purchasepath.tables.catalog import EVENTS, REJECTED_EVENTS, SESSIONS
from tests.sources.reading import write_files

T0 = datetime(2024, 1, 1, tzinfo=UTC)


def open_job(spark: SparkSession, scratch: Path, *overrides: str) -> Job:
    places = {"warehouse": "warehouse", "runs": "runs", "raw": "raw"}
    paths = [f"paths.{name}={scratch / place}" for name, place in places.items()]
    key = f"ingest.pseudonym_key_file={scratch / 'key'}"
    return Job("sessionize", load_config([], [*paths, key, *overrides]), spark=spark)


def test_the_summary_tells_sessions_reasons_bots_and_agreement(spark: SparkSession, tmp_path: Path) -> None:
    job = open_job(spark, tmp_path, "sessions.bot_max_events=3", "sessions.max_events=4")
    minutes = [0, 1, 2, 3, 4, 90]
    with job.warehouse.transaction("ingest") as tx:
        tx.write(EVENTS, EVENTS.frame(spark, [
            {"event_id": f"e{n}", "user_id": "u", "event_ts": T0 + timedelta(minutes=m), "event_type": "view",
             "arrived_at": T0 + timedelta(minutes=m), "source_session": "a" if m < 60 else "b",
             "event_date": T0.date()} for n, m in enumerate(minutes)]))

    summary = sessionize.run(job)

    assert summary.rows == {"sessions": 3}
    assert summary.lines == [
        "full (nothing was built before): all sessions built, 0 events left out as too late",
        "6 events, 2.0 per session",
        "ended by: gap 2, max_events 1",
        "flagged as bots: 1 of 3 sessions (kept), with 66.7% of events and 0.0% of purchases; their visitors have "
        "0.0% of purchases",
        "agreement with the shop's own 2 sessions: 50.00% are exactly ours; "
        "neighbouring events kept together: precision 100.00%, recall 75.00%",
        "  1 pairs differ: known session goes on where a cap, midnight or a campaign ends ours",
    ]
    rows = job.warehouse.read(SESSIONS).orderBy("started_at").collect()
    assert [(r.num_events, r.cut_reason, r.is_bot) for r in rows] == [
        (4, "max_events", True), (1, "gap", False), (1, "gap", False)]


def test_without_events_sessionize_names_the_stage_to_run(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(TableMissingError, match=r"spark-submit\.sh ingest"):
        sessionize.run(open_job(spark, tmp_path))


def test_a_shop_lies_below_a_directory_of_any_name(spark: SparkSession, tmp_path: Path) -> None:
    place = tmp_path / "o'brien 100%20 a#b [ü]+&="
    write_files(place / "raw", {"my log.tsv": "u\t2023-01-01 10:00:00\tbrowse-product\t1\nnonsense\n"})
    job = open_job(spark, place, "ingest.source=behaviour_log", "ingest.max_rejected_share=1")
    for stage in (ingest, sessionize):
        stage.run(job)
    assert [row.event_types for row in job.warehouse.read(SESSIONS).collect()] == [["view"]]
    assert [row.file for row in job.warehouse.read(REJECTED_EVENTS).collect()] == [str(place / "raw" / "my log.tsv")]
    assert [entry.name for entry in tmp_path.iterdir()] == [place.name]


@pytest.mark.slow
def test_the_simulated_shops_true_sessions_are_found_exactly(spark: SparkSession, tmp_path: Path) -> None:
    shop = ["simulate.users=150", "simulate.days=14", "simulate.items=60", "simulate.bot_share=0.05",
            "ingest.max_rejected_share=0.1"]
    job = open_job(spark, tmp_path, *shop)
    for stage in (simulate, ingest, sessionize):
        stage.run(job)

    truth = spark.read.parquet(str(tmp_path / "raw" / "truth" / "events"))
    ours = job.warehouse.read(SESSIONS).select("session_id", F.explode("event_ids").alias("event_id"))
    # broken lines are no events: sessions are compared on what was accepted
    both = truth.join(ours, on="event_id", how="inner")
    assert both.count() == job.warehouse.read(EVENTS).count() > 1000
    true_sessions = both.select("visitor", "session_number").distinct().count()
    our_sessions = both.select("session_id").distinct().count()
    pairs = both.select("visitor", "session_number", "session_id").distinct().count()
    assert (true_sessions, our_sessions) == (pairs, pairs)
