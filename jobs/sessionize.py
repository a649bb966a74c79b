"""EVENTS -> SESSIONS, LATE_EVENTS and SUPERSEDED_SESSIONS: all sessions anew, or those that changed events touch."""

from __future__ import annotations

from collections import Counter

import pyspark.sql.functions as F
from pyspark.sql import DataFrame

from purchasepath.job import Job, Summary, main
from purchasepath.sessions.agreement import measure
from purchasepath.sessions.books import books_row, make_plan
from purchasepath.sessions.bots import count_sessions, measure_bots
from purchasepath.sessions.full import Run, build_all
from purchasepath.sessions.incremental import add_changes
from purchasepath.sessions.visitors import count_visitors, describe_heavy_users
from purchasepath.tables.catalog import EVENTS, SESSIONIZE_BOOKS, SESSIONS


def run(job: Job) -> Summary:
    plan = make_plan(job.warehouse, job.config.sessions)
    before = job.warehouse.fingerprints(SESSIONS)
    with job.warehouse.transaction(job.run_id) as tx:
        this = Run(job.spark, job.warehouse, tx, job.config.sessions, job.run_id)
        entry = plan.check(build_all(this) if plan.why_full else add_changes(this, plan.sessionized))
        tx.write(SESSIONIZE_BOOKS, books_row(job.spark, plan, entry, job.run_id, tx.number), append=True)
    if plan.why_full:
        lines = [f"{plan}: all sessions built, {entry.late:,} events left out as too late"]
        lines += _describe(job.warehouse.read(SESSIONS), job.warehouse.read(EVENTS))
    else:
        after = job.warehouse.fingerprints(SESSIONS)
        untouched = sum(before.get(day) == files for day, files in after.items())
        lines = [f"{plan}: {entry}, {untouched:,} of {len(after):,} days untouched"]
    return Summary({SESSIONS.name: entry.sessions_written}, lines,
                   events=entry.events if plan.why_full else entry.changes)


def _describe(sessions: DataFrame, events: DataFrame) -> list[str]:
    """Events, why sessions ended, bots; and the agreement with the shop's own sessions, where it has any."""
    counted = count_sessions(sessions, "cut_reason")
    reasons = sum((Counter({row["cut_reason"]: row["sessions"]}) for row in counted), Counter())
    num_sessions, num_events = reasons.total(), sum(row["events"] for row in counted)
    ended = ", ".join(f"{reason} {number:,}" for reason, number in sorted(reasons.items(), key=lambda i: (-i[1], i[0])))
    visitors = count_visitors(sessions, num_events)
    lines = [
        f"{num_events:,} events, {num_events / max(num_sessions, 1):.1f} per session",
        f"ended by: {ended}",
        *measure_bots(counted, visitors).lines(),
        *describe_heavy_users(visitors, num_events),
    ]
    known = events.select("event_id", F.col("source_session").alias("known_session")).where("known_session IS NOT NULL")
    return lines if known.isEmpty() else [*lines, *measure(sessions, known).lines()]


if __name__ == "__main__":
    main("sessionize", run)
