"""Event types of a session as a walk: of people, up to the first purchase, repeats as one state."""

from __future__ import annotations

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame

START, PURCHASE, LEAVE = "start", "purchase", "leave"
UNKNOWN = "unknown"
"""In place of a channel, device or price that the events do not say."""

ACCURACY = 10_000
"""Of percentile_approx: the rank is off by at most rows / ACCURACY (this is Spark's own default)."""


def keep_people(sessions: DataFrame) -> DataFrame:
    """Sessions that were not flagged as a bot's."""
    return sessions.where(~F.col("is_bot"))


def up_to_purchase(event_types: Column) -> Column:
    """The event types up to and including the first purchase; all of them where there is none."""
    bought_at = F.array_position(event_types, PURCHASE)
    return F.when(bought_at > 0, F.slice(event_types, 1, bought_at.cast("int"))).otherwise(event_types)


def collapse_repeats(states: Column) -> Column:
    """Each run of equal states as one state: [view, view, cart, view] -> [view, cart, view]."""
    return F.filter(states, lambda state, i: (i == 0) | (state != F.get(states, i - 1)))
