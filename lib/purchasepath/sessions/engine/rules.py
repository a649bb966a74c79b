"""The rules of sessions that more than one place asks for: the gap, the longest session, lateness, ids."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar

import numpy as np
import pyarrow as pa
from pyspark.sql import Column

from purchasepath.config import Sessions
from purchasepath.times import DAY_US, HOUR_US, SECOND_US

ID_LENGTH = 32
"""Hex digits of a session id: 128 bits, so two ids among 10^12 meet with a chance below 10^-14."""

Microseconds = TypeVar("Microseconds", np.ndarray, Column)


def gap_us(config: Sessions) -> int:
    """A longer pause ends a session."""
    return round(config.gap_minutes * 60 * SECOND_US)


def max_us(config: Sessions) -> int:
    """The longest that a session may last."""
    return round(config.max_hours * HOUR_US)


def horizon_us(config: Sessions) -> int:
    """The longest that an event may take to arrive and be in a session."""
    return round(config.late_horizon_days * DAY_US)


def is_late(arrival_lag_us: Microseconds, config: Sessions) -> Microseconds:
    """bool: do more than `late_horizon_days` lie between event_ts and arrived_at? Exactly as many are in time."""
    return arrival_lag_us > horizon_us(config)


@dataclass(frozen=True)
class Timely:
    """Keeps the events that belong in sessions, for tasks that read EVENTS as Arrow columns."""

    config: Sessions
    columns = ("event_ts", "arrived_at")

    def __call__(self, rows: pa.RecordBatch) -> np.ndarray | None:
        event_us, arrived_us = (rows[name].cast(pa.int64()).to_numpy() for name in self.columns)
        late = is_late(arrived_us - event_us, self.config)
        return ~late if late.any() else None


def session_ids(firsts: Iterable[tuple[str, int, str]]) -> list[str]:
    """Ids of the sessions with these (user_id, microseconds of the first event, id of the first event).

    Hashes, the same wherever they are computed.
    """
    return [sha256(f"{user}|{us}|{event}".encode()).hexdigest()[:ID_LENGTH] for user, us, event in firsts]
