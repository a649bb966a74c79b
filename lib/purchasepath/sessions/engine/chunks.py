"""A part of one visitor's timeline as a function from the session that enters it to the session that leaves it.

Caps and campaigns depend on the session they end, so a part cut out of the middle of a timeline cannot know its
sessions. But after the first cut inside it, everything depends on that cut's position alone; and the first cut
comes before `max_events` events or at the first hard cut, whichever session enters. So a table with an entry per
such position, and the times of these events, say all there is to know, in bounded size. Such functions compose, and
composing is associative, whatever the parts: timelines may be cut anywhere, summarized apart, and joined.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from purchasepath.config import Sessions
from purchasepath.sessions.engine.boundaries import (
    CAMPAIGN,
    GAP,
    MAX_EVENTS,
    MAX_HOURS,
    MIDNIGHT,
    NO_CAMPAIGN,
    SortedEvents,
    hard_cuts,
    next_starts,
    other_campaigns,
)
from purchasepath.sessions.engine.rules import gap_us, max_us

CHUNK = pa.schema([
    ("bucket", pa.int32()), ("num_events", pa.int64()), ("first_us", pa.int64()), ("last_us", pa.int64()),
    ("first_day", pa.int32()), ("last_day", pa.int32()),
    ("hard_at", pa.int64()), ("hard_reason", pa.int32()),
    ("campaign", pa.string()), ("campaign_at", pa.int64()), ("change_at", pa.int64()),
    ("cut_us", pa.list_(pa.int64())), ("cut_ties", pa.list_(pa.int32())), ("cut_ids", pa.list_(pa.string())),
    ("left_start_us", pa.list_(pa.int64())), ("left_events", pa.list_(pa.int64())),
    ("left_campaign", pa.list_(pa.string())),
])
"""A chunk, its events numbered from 0.

`hard_at`, `hard_reason`: the first hard cut after event 0 (num_events: there is none). `campaign`, `campaign_at`: the
first one known before it; `change_at`: the first other one (num_events: none). By position p of the first cut:
`cut_us`, `cut_ties` and `cut_ids`, the event there; `left_…`, the session that is open at the end if one begins at p.
"""
CHUNK_DDL = (
    "bucket int, num_events bigint, first_us bigint, last_us bigint, first_day int, last_day int, hard_at bigint, "
    "hard_reason int, campaign string, campaign_at bigint, change_at bigint, cut_us array<bigint>, "
    "cut_ties array<int>, cut_ids array<string>, left_start_us array<bigint>, left_events array<bigint>, "
    "left_campaign array<string>"
)


@dataclass(frozen=True)
class OpenSession:
    """The session a visitor is in after some event."""

    start_us: int
    num_events: int
    campaign: str | None
    last_us: int
    last_day: int


@dataclass(frozen=True)
class Border:
    """First event of a session, and why that session began: a place where a timeline may be cut for good."""

    event_us: int
    tie_order: int
    event_id: str
    reason: int


def summarize_chunk(bucket: int, events: SortedEvents, tie_orders: pa.Array, event_ids: pa.Array,
                    campaigns: pa.Array | None, config: Sessions) -> pa.Table:
    """One row (`CHUNK`) from the events of one visitor in one chunk. `campaigns`: name of each campaign number."""
    size = len(events.event_us)
    opens, why = hard_cuts(events, config)
    starts = np.flatnonzero(opens)
    stops = np.r_[starts[1:], size]
    hard_at = int(stops[0])
    last = _last_starts(next_starts(events, starts, stops, config))
    entries = min(hard_at + (hard_at < size), config.max_events)
    head = pa.array(np.arange(entries))
    left = last[:entries]
    days = [0] if events.day is None else events.day
    row = {
        "bucket": bucket, "num_events": size, "first_us": events.event_us[0], "last_us": events.event_us[-1],
        "first_day": days[0], "last_day": days[-1],
        "hard_at": hard_at, "hard_reason": why[hard_at] if hard_at < size else GAP,
        "cut_us": events.event_us[:entries], "cut_ties": tie_orders.take(head).to_pylist(),
        "cut_ids": event_ids.take(head).to_pylist(),
        "left_start_us": events.event_us[left], "left_events": size - left,
        **_campaigns(events, campaigns, hard_at, left),
    }
    return pa.Table.from_pylist([row], schema=CHUNK)


def borders_of(chunks: Iterable[dict], config: Sessions) -> list[Border]:
    """The first session that begins in each chunk but the first; chunks of one visitor, in order.

    A chunk that lies within one session has none.
    """
    session: OpenSession | None = None
    borders = []
    for chunk in chunks:
        if session is None:
            session = _left(chunk, 0)
            continue
        session, border = pass_through(chunk, session, config)
        if border:
            borders.append(border)
    return borders


def pass_through(chunk: dict, session: OpenSession, config: Sessions) -> tuple[OpenSession, Border | None]:
    """The session that leaves the chunk when `session` enters it, and the first cut inside."""
    at, reason = _first_cut(chunk, session, config)
    if at < chunk["num_events"]:
        return _left(chunk, at), Border(chunk["cut_us"][at], chunk["cut_ties"][at], chunk["cut_ids"][at], reason)
    campaign = chunk["campaign"] if session.campaign is None else session.campaign
    return OpenSession(session.start_us, session.num_events + chunk["num_events"], campaign,
                       chunk["last_us"], chunk["last_day"]), None


def _first_cut(chunk: dict, session: OpenSession, config: Sessions) -> tuple[int, int]:
    """Position of the first event that cannot join `session`, and why; num_events where all can."""
    if chunk["first_us"] - session.last_us > gap_us(config):
        return 0, GAP
    if config.cut_at_midnight and chunk["first_day"] != session.last_day:
        return 0, MIDNIGHT
    differs = session.campaign is not None and chunk["campaign"] not in (None, session.campaign)
    late = np.searchsorted(chunk["cut_us"], session.start_us + max_us(config), side="right")
    found = [
        (chunk["hard_at"], chunk["hard_reason"]),
        (chunk["campaign_at"] if differs else chunk["change_at"], CAMPAIGN),
        (int(late) if late < len(chunk["cut_us"]) else chunk["num_events"], MAX_HOURS),
        (config.max_events - session.num_events, MAX_EVENTS),
    ]
    return min(found, key=lambda cut: cut[0])  # of several at one place the first, as REASONS has them


def _left(chunk: dict, at: int) -> OpenSession:
    return OpenSession(chunk["left_start_us"][at], chunk["left_events"][at], chunk["left_campaign"][at],
                       chunk["last_us"], chunk["last_day"])


def _last_starts(following: np.ndarray) -> np.ndarray:
    """For every event: where the last session begins if one begins here. Paths are followed by doubling."""
    size = len(following)
    last = np.where(following == size, np.arange(size), np.minimum(following, size - 1))
    while not np.array_equal(further := last[last], last):
        last = further
    return last


def _campaigns(events: SortedEvents, names: pa.Array | None, hard_at: int, left: np.ndarray) -> dict:
    """What a chunk says of campaigns."""
    size = len(events.event_us)
    nothing = {"campaign": None, "campaign_at": size, "change_at": size, "left_campaign": [None] * len(left)}
    if events.campaign is None or names is None:
        return nothing
    known = np.flatnonzero(events.campaign != NO_CAMPAIGN)
    if not len(known):
        return nothing
    inside = known[0] < hard_at
    change = other_campaigns(events.campaign[:hard_at], np.zeros(hard_at, dtype=np.int64))[0]
    at = np.searchsorted(known, left)
    codes = np.where(at < len(known), events.campaign[known[np.minimum(at, len(known) - 1)]], NO_CAMPAIGN)
    return {
        "campaign": names[events.campaign[known[0]]].as_py() if inside else None,
        "campaign_at": int(known[0]) if inside else size,
        "change_at": int(change) if change < hard_at else size,
        "left_campaign": names.take(pa.array(codes, mask=codes == NO_CAMPAIGN)).to_pylist(),
    }
