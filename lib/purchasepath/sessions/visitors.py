"""What is told of visitors, in one pass: who weighs like a crowd, usually a bot, a shared kiosk or a lost id; and what
those buy of whom a session is flagged as a bot's."""

from __future__ import annotations

from collections.abc import Sequence

import pyspark.sql.functions as F
from pyspark.sql import DataFrame, Row

from purchasepath.sessions.engine.boundaries import REASONS
from purchasepath.sessions.engine.partition import heavy_limit

SHARE, LEAST_EVENTS = 0.01, 1000


def count_visitors(sessions: DataFrame, num_events: int, *, share: float = SHARE, least_events: int = LEAST_EVENTS
                   ) -> list[Row]:
    """Events, revenue, purchases and sessions per reason of their end: a row per `heavy` visitor, with at least so many
    events, and more than `share` of the `num_events` in `sessions`; and of all others one per `flagged`."""
    sums = {"events": "num_events", "revenue": "revenue", "purchases": "num_purchases"}
    ended = {reason: F.count_if(F.col("cut_reason") == reason) for reason in REASONS}
    visitors = sessions.groupBy("user_id").agg(
        F.bool_or("is_bot").alias("flagged"), *(F.sum(column).alias(name) for name, column in sums.items()),
        *(count.alias(reason) for reason, count in ended.items()))
    is_heavy = (F.col("events") > share * num_events) & (F.col("events") >= least_events)
    return visitors.groupBy(F.when(is_heavy, F.col("user_id")).alias("heavy"), "flagged").agg(
        *(F.sum(name).alias(name) for name in (*sums, *ended))).collect()  # fewer than 1 / share, and two


def describe_heavy_users(counted: Sequence[Row], num_events: int) -> list[str]:
    """A line per heavy visitor of `count_visitors`: how many of the `num_events`, and what became of them."""
    heavy = sorted((row for row in counted if row["heavy"]), key=lambda row: (-row["events"], row["heavy"]))
    return [_line(row["heavy"], row["events"], {reason: row[reason] for reason in REASONS if row[reason]}, num_events)
            for row in heavy]


def _line(user_id: str, events: int, reasons: dict[str, int], num_events: int) -> str:
    ended = ", ".join(f"{reason} {count:,}" for reason, count in sorted(reasons.items(), key=lambda r: (-r[1], r[0])))
    chunks = -(-events // heavy_limit(num_events))
    work = f"worked on in about {chunks:,} chunks" if chunks > 1 else "worked on in one piece"
    return (f"heavy visitor {user_id[:16]}: {events / num_events:.1%} of all events ({events:,}), {work}; "
            f"{sum(reasons.values()):,} sessions ended by {ended}")
