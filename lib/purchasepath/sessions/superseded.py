"""Session ids that were published and are no more, and where to look instead."""

from __future__ import annotations

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame

from purchasepath.sessions.identifiers import session_id
from purchasepath.tables.catalog import SUPERSEDED_SESSIONS


def find_superseded(published: DataFrame, sessions: DataFrame) -> DataFrame:
    """SUPERSEDED_SESSIONS of ids once `published` (its columns but superseded_by), given SESSIONS as it is now.

    Ids that are there (again) are left out. `sessions` may be limited to those that can be them, or hold their first
    event. `engine.homes` does the same in files.
    """
    gone = published.join(sessions.select("session_id"), on="session_id", how="left_anti")
    holders = sessions.select(
        "user_id", F.col("session_id").alias("superseded_by"), "event_ids", "offsets_us",
        F.unix_micros("started_at").alias("from_us"), F.unix_micros("ended_at").alias("to_us"))
    at = F.unix_micros("started_at")
    found = holders.join(gone, on="user_id", how="inner").where(
        at.between(F.col("from_us"), F.col("to_us")) & _holds_first_event(at)).select("session_id", "superseded_by")
    return SUPERSEDED_SESSIONS.select(gone.join(found, on="session_id", how="left"))


def _holds_first_event(at: Column) -> Column:
    """A session's id is a hash of its first event's time and id: the event is told by it, though no table keeps it."""
    return F.exists(F.arrays_zip("event_ids", "offsets_us"), lambda event: (
        (event["offsets_us"] == at - F.col("from_us"))
        & (session_id(F.col("user_id"), at, event["event_ids"]) == F.col("session_id"))))
