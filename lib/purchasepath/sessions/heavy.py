"""Who has so many events that one visitor weighs like a crowd: usually a bot, a shared kiosk or a lost id."""

from __future__ import annotations

import pyspark.sql.functions as F
from pyspark.sql import DataFrame

from purchasepath.sessions.engine.cuts import REASONS
from purchasepath.sessions.engine.spread import heavy_limit

SHARE, LEAST_EVENTS = 0.01, 1000


def describe_heavy_users(sessions: DataFrame, num_events: int, *, share: float = SHARE,
                         least_events: int = LEAST_EVENTS) -> list[str]:
    """One line per visitor with at least so many events, and more than `share` of the `num_events` in `sessions`: how
    many, and what became of them."""
    ended = [F.count_if(F.col("cut_reason") == reason).alias(reason) for reason in REASONS]
    heavy = (
        sessions.groupBy("user_id").agg(F.sum("num_events").alias("events"), *ended)
        .where((F.col("events") > share * num_events) & (F.col("events") >= least_events))
    ).collect()  # fewer than 1 / share
    return [_line(row.user_id, row.events, {reason: row[reason] for reason in REASONS if row[reason]}, num_events)
            for row in sorted(heavy, key=lambda row: (-row.events, row.user_id))]


def _line(user_id: str, events: int, reasons: dict[str, int], num_events: int) -> str:
    ended = ", ".join(f"{reason} {count:,}" for reason, count in sorted(reasons.items(), key=lambda r: (-r[1], r[0])))
    chunks = -(-events // heavy_limit(num_events))
    work = f"worked on in about {chunks:,} chunks" if chunks > 1 else "worked on in one piece"
    return (f"heavy visitor {user_id[:16]}: {events / num_events:.1%} of all events ({events:,}), {work}; "
            f"{sum(reasons.values()):,} sessions ended by {ended}")
