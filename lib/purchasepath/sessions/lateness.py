"""Events that arrived too late to be in a session.

Lateness is a property of the event alone, so which events are in sessions does not depend on the order in which
they were worked in. EVENTS holds them all; those beyond the horizon are told in LATE_EVENTS as well.
"""

from __future__ import annotations

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame

from purchasepath.config import Sessions
from purchasepath.sessions.engine.rules import is_late
from purchasepath.tables.catalog import LATE_EVENTS


def arrived_late(config: Sessions) -> Column:
    """Whether the event is too late for sessions; of any frame with event_ts and arrived_at."""
    return is_late(F.unix_micros("arrived_at") - F.unix_micros("event_ts"), config)


def keep_timely(events: DataFrame, config: Sessions) -> DataFrame:
    """The rows that belong in sessions."""
    return events.where(~arrived_late(config))


def keep_late(events: DataFrame, config: Sessions) -> DataFrame:
    """LATE_EVENTS of EVENTS."""
    reason = F.lit(f"arrived more than {config.late_horizon_days:g} days after it happened")
    return LATE_EVENTS.select(events.where(arrived_late(config)).withColumn("reason", reason))
