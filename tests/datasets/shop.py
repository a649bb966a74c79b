"""A tiny shop told in events, as SESSIONS and USER_FEATURES."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pyspark.sql import DataFrame, SparkSession

from purchasepath.config import Sessions
from purchasepath.features.known import know_events
from purchasepath.features.labels import summarize_labels
from purchasepath.features.tiles import summarize_user_tiles
from purchasepath.tables.catalog import SESSIONS
from purchasepath.tables.features import USER_FEATURES

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR_US = 3_600_000_000


def at(hours: float) -> datetime:
    """Time `hours` after the start of the shop."""
    return START + timedelta(hours=hours)


@dataclass(frozen=True)
class Event:
    """One event; `late_hours` until it arrives. Each is a session of its own unless told together."""

    user: str
    hour: float
    item: str | None = None
    type: str = "view"
    price: float | None = None
    late_hours: float = 0.0
    id: str = ""


def sessions_of(
    spark: SparkSession, events: Iterable[Event], bots: Sequence[str] = (), hours_per_session: float = 1.0
) -> DataFrame:
    """SESSIONS of the events: a session per user and clock span of `hours_per_session`. Events of one time stand as
    they are given, though their ids, where none are given, fall."""
    sessions: dict[tuple[str, int], list[Event]] = {}
    for number, event in enumerate(sorted(events, key=lambda e: (e.user, e.hour, e.id))):
        key = (event.user, int(event.hour // hours_per_session))
        sessions.setdefault(key, []).append(
            Event(**{**event.__dict__, "id": event.id or f"{999_999 - number:06d}"}))
    rows = []
    for (user, _), members in sessions.items():
        begin = at(members[0].hour)
        rows.append({
            "session_id": f"{user}-{members[0].id}", "user_id": user, "started_at": begin,
            "ended_at": at(members[-1].hour), "is_bot": user in bots, "num_events": len(members),
            "num_purchases": sum(e.type == "purchase" for e in members),
            "event_ids": [e.id for e in members], "event_types": [e.type for e in members],
            "item_ids": [e.item for e in members], "prices": [e.price for e in members],
            "offsets_us": [(at(e.hour) - begin) // timedelta(microseconds=1) for e in members],
            "arrival_lags_us": [round(e.late_hours * HOUR_US) for e in members],
            "session_date": begin.date(),
        })
    return SESSIONS.frame(spark, rows)


def features_at(spark: SparkSession, points: Iterable[tuple[str, float, float]]) -> DataFrame:
    """USER_FEATURES with (user, as-of hour, events_1d); the other features are 0."""
    return USER_FEATURES.frame(spark, [
        {"user_id": user, "as_of": at(hour), "events_1d": value, "as_of_date": at(hour).date()}
        for user, hour, value in points
    ])


def labels_at(sessions: DataFrame, times: list[datetime], horizons_us: Mapping[str, int]) -> DataFrame:
    """The labels of the sessions' visitors, by way of the tiles of whole days."""
    return summarize_labels(partials_of(sessions), times, horizons_us)


def partials_of(sessions: DataFrame) -> DataFrame:
    """USER_PARTIALS of whole days."""
    return summarize_user_tiles(know_events(sessions, 24 * HOUR_US), sessions, Sessions())
