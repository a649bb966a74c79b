"""What a delivery changes in the events that earlier runs accepted.

An event id keeps the row that arrived first of all deliveries ever; rows that arrived together are told apart by
their other columns. That is a total order that needs nothing but columns of EVENTS, so the same raw rows give
the same EVENTS however they are split into deliveries, in whatever order, and however often they are delivered.

    delivered now        in EVENTS             afterwards
    e1, arrived 10:00    nothing               e1, arrived 10:00 (new)
    e2, arrived 10:00    e2, arrived 09:00     e2, arrived 09:00 (known)
    e3, arrived 10:00    e3, arrived 11:00     e3, arrived 10:00 (displaces)
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from functools import reduce

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame

from purchasepath.sources.mapping import OWN_PREFIX
from purchasepath.tables.catalog import EVENT_CHANGES, EVENTS

CONTENTS = tuple(name for name in EVENTS.names if name not in ("event_id", "arrived_at", "tie_order", "event_date"))
"""What an event is: two rows with one id that differ in it are a collision, not copies that arrived twice."""
FIRST = ("arrived_at", *CONTENTS)
"""Of rows with one id that which is smallest in these columns stays; among equal ones the largest `tie_order`: of two
files the one with more of the visitor's instant knows more of its order."""

DISPLACES, COLLIDES = f"{OWN_PREFIX}displaces", f"{OWN_PREFIX}collides"
_OURS, _THEIRS = f"{OWN_PREFIX}ours", f"{OWN_PREFIX}theirs"

MOST_BROADCAST_IDS = 2_000_000
"""Sixteen bytes each on every executor. Beyond, ids are shuffled: so many cost more than a pass over the history."""


def find_days(stored: DataFrame, candidates: DataFrame, num_candidates: int) -> DataFrame:
    """`event_date` of every day of `stored` that holds an event id of `candidates`, and perhaps (rarely) of others.

    Reads nothing of the history but its ids, and compares 64-bit hashes: eight bytes an id travel, not the text.
    """
    ids = candidates.select(F.xxhash64("event_id").alias("id")).hint(
        "broadcast" if num_candidates <= MOST_BROADCAST_IDS else "merge")
    known = stored.select(F.xxhash64("event_id").alias("id"), "event_date")
    return known.join(ids, on="id", how="left_semi").select("event_date").distinct()


def keep_days(events: DataFrame, days: Iterable[date]) -> DataFrame:
    """The events of these days; reads no other partition."""
    return events.where(F.col("event_date").isin(list(days)))


def find_contests(candidates: DataFrame, stored: DataFrame) -> DataFrame:
    """One row per event id of both: `event_id`, DISPLACES (ours arrived first), COLLIDES (the contents differ) and
    the stored row's user and times.

    Both sides hold an id once. Of two equal rows the stored one stays.
    """
    place = F.struct(*FIRST, (-F.coalesce("tie_order", F.lit(-1))).alias("tie_order"))
    ours = candidates.select("event_id", place.alias(_OURS))
    theirs = stored.select("event_id", "event_date", place.alias(_THEIRS))
    both = ours.join(theirs, on="event_id", how="inner")
    differ = [~F.col(f"{_OURS}.{name}").eqNullSafe(F.col(f"{_THEIRS}.{name}")) for name in CONTENTS]
    return both.select("event_id", (F.col(_OURS) < F.col(_THEIRS)).alias(DISPLACES),
                       reduce(Column.__or__, differ).alias(COLLIDES), f"{_THEIRS}.user_id",
                       f"{_THEIRS}.event_ts", f"{_THEIRS}.arrived_at", "event_date")


def keep_new(candidates: DataFrame, contests: DataFrame) -> DataFrame:
    """Candidates that EVENTS gains: their id is not there, or they displace the row that has it."""
    lost = contests.where(~F.col(DISPLACES)).select("event_id")
    return candidates.join(lost, on="event_id", how="left_anti")


def keep_undisplaced(stored: DataFrame, contests: DataFrame) -> DataFrame:
    """Stored events that stay."""
    gone = contests.where(DISPLACES).select("event_id")
    return stored.join(gone, on="event_id", how="left_anti")


def list_changes(new: DataFrame, contests: DataFrame, run_id: str) -> DataFrame:
    """EVENT_CHANGES: one row per event that EVENTS gains, one per event that it loses."""
    changed = {"added": new, "removed": contests.where(DISPLACES)}
    added, removed = (frame.withColumns({"change": F.lit(change), "ingest_run": F.lit(run_id)})
                      .select(*EVENT_CHANGES.names) for change, frame in changed.items())
    return added.unionByName(removed)


def keep_unknown_ids(ids: DataFrame, known: DataFrame) -> DataFrame:
    """Rows of USER_KEYS that `known` does not hold."""
    there = known.select("user_id").join(ids.select("user_id"), on="user_id", how="left_semi")
    return ids.join(there, on="user_id", how="left_anti")
