"""Time as everything here counts it: whole microseconds since 1970, UTC; and from when an event is known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyspark.sql.functions as F
from pyspark.sql import Column

SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US
DAY_US = 24 * HOUR_US
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_us(at: datetime) -> int:
    """Microseconds since the epoch; a time without a zone is UTC."""
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1)


def from_us(us: int) -> datetime:
    """The time, in UTC, that is so many microseconds after the epoch."""
    return _EPOCH + timedelta(microseconds=us)


def known_from_us(event_us: Column, arrived_us: Column) -> Column:
    """First microsecond at which an event is known: it has happened, and it has arrived."""
    return F.greatest(event_us + 1, arrived_us)
