"""Sessions by a plain loop, straight from the rules; what Spark computes must be equal to it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import add
from typing import Any
from zoneinfo import ZoneInfo

from purchasepath.config import Sessions
from purchasepath.tables.catalog import EVENT_TYPES

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
T0 = datetime(2024, 1, 1, tzinfo=UTC)

Event = Mapping[str, Any]


def t(minutes: float = 0, *, us: int = 0) -> datetime:
    return T0 + timedelta(minutes=minutes, microseconds=us)


def to_us(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


def tie_order(event: Event) -> int:
    """What the event has, or else what its type has."""
    stored = event.get("tie_order")
    return EVENT_TYPES.index(event["event_type"]) << 27 if stored is None else stored


def in_order(event: Event) -> tuple[Any, ...]:
    """A visitor's events sort by it."""
    return event["event_ts"], tie_order(event), event["event_id"]


def cut(events: Iterable[Event], config: Sessions) -> list[tuple[list[Event], str]]:
    """(events in order, cut reason) of every session."""
    by_user: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        by_user[event["user_id"]].append(event)
    found: list[tuple[list[Event], str]] = []
    for timeline in by_user.values():
        timeline.sort(key=in_order)
        session: list[Event] = []
        for event in timeline:
            reason = cut_before(event, session, config) if session else None
            if reason:
                found.append((session, reason))
                session = []
            session.append(event)
        found.append((session, "gap"))  # as far as is known
    return found


def cut_before(event: Event, session: list[Event], config: Sessions) -> str | None:
    previous, first = session[-1], session[0]
    zone = ZoneInfo(config.timezone)
    campaigns = [e["campaign"] for e in session if e.get("campaign")]
    if event["event_ts"] - previous["event_ts"] > timedelta(minutes=config.gap_minutes):
        return "gap"
    if config.cut_at_midnight and (
        event["event_ts"].astimezone(zone).date() != previous["event_ts"].astimezone(zone).date()
    ):
        return "midnight"
    if config.cut_on_campaign and event.get("campaign") and campaigns and campaigns[-1] != event["campaign"]:
        return "campaign"
    if event["event_ts"] - first["event_ts"] > timedelta(hours=config.max_hours):
        return "max_hours"
    if len(session) >= config.max_events:
        return "max_events"
    return None


def summarize(session: list[Event], reason: str, config: Sessions) -> dict[str, Any]:
    """The columns of SESSIONS that the oracle knows."""
    first, last = session[0], session[-1]
    start = to_us(first["event_ts"])
    times = [to_us(e["event_ts"]) for e in session]
    window = round(config.bot_window_seconds * 1e6)
    requests = set(times)  # the lines of an order have one time, and are one request
    crowded = any(sum(at <= other <= at + window for other in requests) >= config.bot_events_per_window
                  for at in requests)
    crawls = any("bot" in (e.get("agent") or "") for e in session)
    key = f"{first['user_id']}|{start}|{first['event_id']}"
    bought = [e for e in session if e["event_type"] == "purchase"]

    def first_of(name: str) -> Any:
        return next((e[name] for e in session if e.get(name) is not None), None)

    return {
        "session_id": hashlib.sha256(key.encode()).hexdigest()[:32],
        "user_id": first["user_id"],
        "started_at": first["event_ts"],
        "ended_at": last["event_ts"],
        "duration_s": (times[-1] - start) / 1e6,
        "cut_reason": reason,
        "num_events": len(session),
        "num_items": len({e["item_id"] for e in session} - {None}),
        "num_views": sum(e["event_type"] == "view" for e in session),
        "num_carts": sum(e["event_type"] == "cart" for e in session),
        "num_purchases": len(bought),
        # from Python 3.12 on `sum` makes up for what rounding loses, as a plain loop does not
        "revenue": reduce(add, ((e["price"] or 0.0) * e["quantity"] for e in bought), 0.0),
        "channel": first_of("channel"),
        "campaign": first_of("campaign"),
        "promotion": any(e["promotion"] for e in session),
        "is_bot": crawls or crowded or len(requests) >= config.bot_max_events,
        "event_ids": [e["event_id"] for e in session],
        "event_types": [e["event_type"] for e in session],
        "item_ids": [e["item_id"] for e in session],
        "prices": [e["price"] for e in session],
        "quantities": [e["quantity"] for e in session],
        "promotions": [e["promotion"] for e in session],
        "channels": [e.get("channel") for e in session],
        "offsets_us": [at - start for at in times],
        "arrival_lags_us": [to_us(e["arrived_at"]) - to_us(e["event_ts"]) for e in session],
        "first_tie_order": tie_order(first),
        "session_date": first["event_ts"].date(),
    }


def sessions_of(events: Iterable[Event], config: Sessions) -> dict[str, dict[str, Any]]:
    """session_id -> row."""
    rows = [summarize(session, reason, config) for session, reason in cut(events, config)]
    return {row["session_id"]: row for row in rows}
