"""EVENTS -> SESSIONS."""

from __future__ import annotations

import pyspark.sql.functions as F
from pyspark.sql import DataFrame

from purchasepath.job import Job, Summary, main
from purchasepath.sessions.agreement import measure
from purchasepath.sessions.summary import sessionize
from purchasepath.tables.catalog import EVENTS, SESSIONS


def run(job: Job) -> Summary:
    events = job.warehouse.read(EVENTS)
    with job.warehouse.transaction(job.run_id) as tx:
        rows = tx.write(SESSIONS, sessionize(events, job.config.sessions))
    sessions = job.warehouse.read(SESSIONS)
    known = events.select("event_id", F.col("source_session").alias("known_session")).where("known_session IS NOT NULL")
    lines = _describe(sessions)
    if not known.isEmpty():
        lines += measure(sessions, known).lines()
    return Summary({SESSIONS.name: rows}, lines, next="./spark-submit.sh features")


def _describe(sessions: DataFrame) -> list[str]:
    """Events, why sessions ended, bots."""
    reasons = sessions.groupBy("cut_reason").agg(
        F.count(F.lit(1)).alias("sessions"), F.sum("num_events").alias("events"), F.count_if("is_bot").alias("bots"),
    ).collect()  # one row per reason
    num_sessions, num_events, num_bots = (sum(row[name] for row in reasons) for name in ("sessions", "events", "bots"))
    ended = ", ".join(f"{row['cut_reason']} {row['sessions']:,}"
                      for row in sorted(reasons, key=lambda row: (-row["sessions"], row["cut_reason"])))
    return [
        f"{num_events:,} events, {num_events / max(num_sessions, 1):.1f} per session",
        f"ended by: {ended}",
        f"flagged as bots: {num_bots:,} sessions (kept)",
    ]


if __name__ == "__main__":
    main("sessionize", run)
