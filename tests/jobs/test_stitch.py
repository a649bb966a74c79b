"""stitch: one person on two devices has one session where the visits meet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from pyspark.sql import SparkSession

from jobs import stitch
from purchasepath.config import load_config
from purchasepath.job import Job
from purchasepath.tables.catalog import EVENTS, IDENTITIES, INGEST_BOOKS, PERSONS, STITCHED_SESSIONS

T0 = datetime(2024, 1, 1, tzinfo=UTC)


def test_visits_of_one_person_on_two_devices_become_one_session(spark: SparkSession, tmp_path: Path) -> None:
    job = Job("stitch", load_config([], [f"paths.warehouse={tmp_path}"]), spark=spark)
    made = [("phone", None, 0), ("phone", "anna", 5), ("laptop", "anna", 20), ("kiosk", "anna", 30),
            ("kiosk", "ben", 100), ("passer-by", None, 100)]
    with job.warehouse.transaction("ingest") as tx:
        tx.write(EVENTS, EVENTS.frame(spark, [
            {"event_id": f"e{i}", "user_id": user, "login_id": login, "event_ts": T0 + timedelta(minutes=minute),
             "arrived_at": T0 + timedelta(minutes=minute), "event_type": "view", "event_date": T0.date()}
            for i, (user, login, minute) in enumerate(made)]))
        tx.write(INGEST_BOOKS, INGEST_BOOKS.frame(spark, [
            {"run_id": run, "history": history, "accepted": accepted, "replaced": replaced,
             "finished_at": T0 + timedelta(days=n)}
            for n, (run, history, accepted, replaced) in enumerate(
                [("a", "add", 9, 0), ("b", "replace", 4, 0), ("c", "add", 3, 1)])]))

    summary = stitch.run(job)

    assert summary.events == 6  # by the books
    assert summary.rows == {IDENTITIES.name: 4, PERSONS.name: 4, STITCHED_SESSIONS.name: 3}
    assert summary.lines == [
        "4 visitors are 3 persons; 3 visitors logged in at some time",
        "1 visitors used several accounts: their events go to the account of their time",
    ]
    sessions = job.warehouse.read(STITCHED_SESSIONS).orderBy("user_id").collect()
    assert [(r.user_id, list(r.event_ids)) for r in sessions] == [
        ("anna", ["e0", "e1", "e2", "e3"]), ("ben", ["e4"]), ("passer-by", ["e5"])]
