"""Who has so many events that one visitor weighs like a crowd: usually a bot, a shared kiosk or a lost id."""

from __future__ import annotations

import pyspark.sql.functions as F
from pyspark.sql import DataFrame

from purchasepath.sessions.engine.spread import heavy_limit

SHARE, LEAST_EVENTS = 0.01, 1000


def describe_heavy_users(sessions: DataFrame, num_events: int, *, share: float = SHARE,
                         least_events: int = LEAST_EVENTS) -> list[str]:
    """One line per visitor with at least so many events, and more than `share` of the `num_events` in `sessions`: how
    many, and what became of them."""
    reasons = F.map_from_entries(F.sort_array(F.collect_list(F.struct("cut_reason", "sessions"))))
    heavy = (
        sessions.groupBy("user_id", "cut_reason")
        .agg(F.sum("num_events").alias("events"), F.count(F.lit(1)).alias("sessions"))
        .groupBy("user_id").agg(F.sum("events").alias("events"), reasons.alias("reasons"))
        .where((F.col("events") > share * num_events) & (F.col("events") >= least_events))
        .orderBy(F.desc("events"), "user_id")
    )
    return [_line(row.user_id, row.events, row.reasons, num_events) for row in heavy.collect()]  # fewer than 1 / share


def _line(user_id: str, events: int, reasons: dict[str, int], num_events: int) -> str:
    ended = ", ".join(f"{reason} {count:,}" for reason, count in sorted(reasons.items(), key=lambda r: (-r[1], r[0])))
    chunks = -(-events // heavy_limit(num_events))
    work = f"worked on in about {chunks:,} chunks" if chunks > 1 else "worked on in one piece"
    return (f"heavy visitor {user_id[:16]}: {events / num_events:.1%} of all events ({events:,}), {work}; "
            f"{sum(reasons.values()):,} sessions ended by {ended}")
