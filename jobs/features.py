"""SESSIONS -> USER_FEATURES, ITEM_FEATURES and SESSION_FEATURES, all of them or none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyspark.sql.functions as F
from pyspark.sql import DataFrame

from purchasepath.errors import InputError
from purchasepath.features.as_of import as_of_times
from purchasepath.features.entities import summarize_items, summarize_sessions, summarize_users
from purchasepath.features.known import know_events
from purchasepath.job import Job, Summary, main
from purchasepath.tables.catalog import SESSIONS
from purchasepath.tables.features import FEATURE_TABLES, ITEM_FEATURES, SESSION_FEATURES, USER_FEATURES


def run(job: Job) -> Summary:
    sessions = job.warehouse.read(SESSIONS)
    times = as_of_times(*_span(sessions), job.config.features.every_hours)
    with job.warehouse.transaction(job.run_id) as tx:
        events = know_events(sessions, job.config.sessions).cache()
        items = tx.materialize(summarize_items(events, times), "items")
        rows = {
            USER_FEATURES.name: tx.write(USER_FEATURES, summarize_users(events, items, times)),
            ITEM_FEATURES.name: tx.write(ITEM_FEATURES, items),
            SESSION_FEATURES.name: tx.write(SESSION_FEATURES, summarize_sessions(sessions)),
        }
        events.unpersist()
    kinds = ", ".join(f"{sum(c.type == 'double' for c in table.columns)} per {table.name.split('_')[0]}"
                      for table in FEATURE_TABLES)
    return Summary(rows, [
        f"as of {len(times)} times, {times[0]:%Y-%m-%d %H:%M} to {times[-1]:%Y-%m-%d %H:%M} UTC, "
        f"every {job.config.features.every_hours:g} h",
        f"features: {kinds}",
    ], next="./spark-submit.sh dataset")


def _span(sessions: DataFrame) -> tuple[datetime, datetime]:
    """Times of the first and the last event."""
    span = sessions.agg(F.unix_micros(F.min("started_at")), F.unix_micros(F.max("ended_at"))).first()
    if span is None or span[0] is None:
        raise InputError("table sessions is empty: there is nothing to compute features from; "
                         "look at the input of ./spark-submit.sh ingest")
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + timedelta(microseconds=span[0]), epoch + timedelta(microseconds=span[1])


if __name__ == "__main__":
    main("features", run)
