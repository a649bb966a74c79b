"""User and item features by nested loops over events, straight from the declarations' words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from purchasepath.config import Sessions
from purchasepath.tables.features import ITEM_FEATURES_DECLARED, USER_FEATURES_DECLARED, Feature
from tests.sessions.oracle import in_order

Event = Mapping[str, Any]
DAY = timedelta(days=1)


def known(events: Iterable[Event], as_of: datetime) -> list[Event]:
    """Events that had happened before `as_of` and had arrived by it, in order."""
    seen = [e for e in events if e["event_ts"] < as_of and e["arrived_at"] <= as_of]
    return sorted(seen, key=in_order)


def hour(e: Event) -> float:
    at = e["event_ts"].astimezone(UTC)
    return (at - at.replace(hour=0, minute=0, second=0, microsecond=0)) / timedelta(hours=1)


def angle(e: Event) -> float:
    return hour(e) / 24 * math.tau


INPUTS: dict[str, Callable[[Event], Any]] = {
    "events": lambda e: 1,
    **{name: (lambda e, word=word: int(e["event_type"] == word)) for name, word in {
        "views": "view", "carts": "cart", "removes": "remove", "searches": "search", "checkouts": "checkout",
        "purchases": "purchase"}.items()},
    "revenue": lambda e: (e["price"] or 0) * e["quantity"] if e["event_type"] == "purchase" else None,
    "item": lambda e: e["item_id"],
    "category": lambda e: e["category"],
    "user": lambda e: e["user_id"],
    "price": lambda e: e["price"],
    "price_viewed": lambda e: e["price"] if e["event_type"] == "view" else None,
    "price_position": lambda e: e["price_position"] if e["event_type"] == "view" else None,
    "promotion": lambda e: int(e["promotion"]),
    "hour_sin": lambda e: math.sin(angle(e)),
    "hour_cos": lambda e: math.cos(angle(e)),
    "night": lambda e: int(hour(e) < 6),
    "weekend": lambda e: int(e["event_ts"].weekday() >= 5),
    **{f"channel_{name}": (lambda e, name=name: None if e["channel"] is None else int(e["channel"] == name))
       for name in ("direct", "search", "email", "ad")},
    "burst": lambda e: e["burst"],
}


def value_of(feature: Feature, events: list[Event], as_of: datetime) -> float:
    """A feature that reads events; `events` are the known ones of its entity, in order."""
    assert feature.window_days is not None
    window = [e for e in events if e["event_ts"] >= as_of - feature.window_days * DAY]
    read = INPUTS[feature.input]
    pairs = [(e, read(e)) for e in window if read(e) is not None]
    values = [value for _, value in pairs]
    if feature.aggregation == "sum":
        return sum(values) if values else feature.missing
    if feature.aggregation == "count_distinct":
        return len(set(values))
    if feature.aggregation == "active_days":
        return len({(as_of - e["event_ts"] - timedelta(microseconds=1)) // DAY for e, value in pairs if value})
    if feature.aggregation == "recency":
        return min(((as_of - e["event_ts"]) / DAY for e, value in pairs if value), default=feature.missing)
    if not values:
        return feature.missing
    latest = [value for e, value in pairs if e["event_ts"] == pairs[-1][0]["event_ts"]]
    return {"mean": sum(values) / len(values), "min": min(values), "max": max(values),
            "last": max(latest)}[feature.aggregation]


def add_features(row: dict[str, Any], features: Iterable[Feature], events: list[Event], as_of: datetime) -> None:
    for f in features:
        if not f.derived:
            row[f.name] = value_of(f, events, as_of)
        elif f.aggregation == "ratio":
            row[f.name] = row[f.input] / row[f.over] if row[f.over] else f.missing
        elif f.aggregation == "excess":
            row[f.name] = max(0, row[f.input] - row[f.over])


def item_rows(events: list[Event], times: list[datetime]) -> dict[tuple[str, datetime], dict[str, Any]]:
    rows: dict[tuple[str, datetime], dict[str, Any]] = {}
    for as_of in times:
        seen = known(events, as_of)
        for item in {e["item_id"] for e in seen} - {None}:
            own = [e for e in seen if e["item_id"] == item]
            recent = [(e["event_ts"], e["category"]) for e in own
                      if e["event_ts"] >= as_of - 30 * DAY and e["category"] is not None]
            row: dict[str, Any] = {"category": max(recent)[1] if recent else None}
            add_features(row, ITEM_FEATURES_DECLARED, own, as_of)
            rows[item, as_of] = row
        here = {key: row for key, row in rows.items() if key[1] == as_of}
        for row in here.values():
            peers = [r["price_30d"] for r in here.values() if r["category"] == row["category"] and r["price_30d"] > 0]
            placed = row["category"] is not None and row["price_30d"] > 0 and len(peers) > 1
            row["price_position_30d"] = (
                sum(price < row["price_30d"] for price in peers) / (len(peers) - 1) if placed else 0.5)
    return rows


def the_visitor(user: str, seen: list[Event]) -> str:
    return user


def the_person(user: str, seen: list[Event]) -> str:
    """The account the visitor used last, of the events seen."""
    return [user, *(e["login_id"] for e in seen if e["user_id"] == user and e["login_id"])][-1]


def user_rows(
    events: list[Event], times: list[datetime], config: Sessions, tile: timedelta = DAY,
    who: Callable[[str, list[Event]], str] = the_visitor,
) -> dict[tuple[str, datetime], dict[str, Any]]:
    rows = {}
    placed = [e | {"burst": 0, "price_position": price_position(e, events, tile)} for e in events]
    for as_of in times:
        seen = known(placed, as_of)
        behind = {user: who(user, seen) for user in {e["user_id"] for e in seen}}
        flagged = [dict(e) for e in seen]
        for user in behind:
            flag_bursts([e for e in flagged if e["user_id"] == user], config)
        for user, person in behind.items():
            row: dict[str, Any] = {}
            own = [e for e in flagged if behind[e["user_id"]] == person]
            add_features(row, USER_FEATURES_DECLARED, own, as_of)
            rows[user, as_of] = row
    return rows


def known_at(e: Event) -> datetime:
    return max(e["event_ts"] + timedelta(microseconds=1), e["arrived_at"])


def price_position(e: Event, events: list[Event], tile: timedelta) -> float | None:
    midnight = datetime.combine(e["event_ts"].date(), datetime.min.time(), UTC)
    tile_end = midnight + ((e["event_ts"] - midnight) // tile + 1) * tile
    if e["price"] is None or e["category"] is None:
        return None
    prices = [o["price"] for o in events
              if o["category"] == e["category"] and o["price"] is not None
              and o["event_ts"].date() == e["event_ts"].date() and known_at(o) <= tile_end]
    if not prices or min(prices) == max(prices):
        return None
    return min(max((e["price"] - min(prices)) / (max(prices) - min(prices)), 0), 1)


def flag_bursts(own: list[dict[str, Any]], config: Sessions) -> None:
    """Mark the event by whose arrival its slot became too full, and those that came with it."""
    slots: dict[tuple[Any, int], list[dict[str, Any]]] = {}
    for e in sorted(own, key=lambda e: (known_at(e), e["event_ts"])):
        second = (e["event_ts"] - datetime.combine(e["event_ts"].date(), datetime.min.time(), UTC)).total_seconds()
        slots.setdefault((e["event_ts"].date(), int(second // config.bot_window_seconds)), []).append(e)
    for slot in slots.values():
        requests = list({e["event_ts"]: e for e in reversed(slot)}.values())  # the first known of each instant
        if len(requests) >= config.bot_events_per_window:
            requests.sort(key=lambda e: (known_at(e), e["event_ts"]))
            filling = requests[config.bot_events_per_window - 1]
            for e in slot:
                same = (known_at(e), e["event_ts"]) == (known_at(filling), filling["event_ts"])
                e["burst"] = int(same)
