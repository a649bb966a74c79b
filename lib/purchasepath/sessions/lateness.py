"""Events that arrived too late to be in a session.

Lateness is a property of the event alone, so which events are in sessions does not depend on the order in which
they were worked in. EVENTS holds them all; those beyond the horizon are told in LATE_EVENTS as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame

from purchasepath.config import Sessions
from purchasepath.tables.catalog import LATE_EVENTS
from purchasepath.times import DAY_US


def is_late(config: Sessions) -> Column:
    """Whether more than `late_horizon_days` lie between event_ts and arrived_at; exactly as many are in time."""
    return F.unix_micros("arrived_at") - F.unix_micros("event_ts") > horizon_us(config)


def keep_timely(events: DataFrame, config: Sessions) -> DataFrame:
    """The rows that belong in sessions; of any frame with event_ts and arrived_at."""
    return events.where(~is_late(config))


@dataclass(frozen=True)
class Timely:
    """The rows that belong in sessions, for tasks that read files of EVENTS."""

    config: Sessions
    columns = ("event_ts", "arrived_at")

    def __call__(self, rows: pa.RecordBatch) -> np.ndarray | None:
        event_us, arrived_us = (rows[name].cast(pa.int64()).to_numpy() for name in self.columns)
        timely = arrived_us - event_us <= horizon_us(self.config)
        return None if timely.all() else timely


def keep_late(events: DataFrame, config: Sessions) -> DataFrame:
    """LATE_EVENTS of EVENTS."""
    reason = F.lit(f"arrived more than {config.late_horizon_days:g} days after it happened")
    return LATE_EVENTS.select(events.where(is_late(config)).withColumn("reason", reason))


def horizon_us(config: Sessions) -> int:
    """The longest that an event may take to arrive and be in a session."""
    return round(config.late_horizon_days * DAY_US)
