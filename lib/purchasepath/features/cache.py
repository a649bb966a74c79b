"""Which days of the cached feature tables are out of date, and in which chunks they are computed.

    SESSIONS     s0   s1   s2   s3        partitions (session_date), each with the fingerprint of its files
                  │ ╲  │ ╲  │ ╲  │ ╲
    partials     d0   d1   d2   d3  d4    event days: a session may hold events of the days after it began
                  └────┴────┴────┘
    as-of                        t        reads the days before it, all of them: who is known, is known for ever

A day is up to date when the fingerprint of all it is computed from is the recorded one. All functions are pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

Days = Mapping[date, str]
"""Day → fingerprint."""

DAY = timedelta(days=1)


def digest(*facts: object) -> str:
    """A fingerprint of the facts, the same in every process."""
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def session_days(partitions: Mapping[str, str], recipe: str) -> dict[date, str]:
    """SESSION_FEATURES: each day from its own partition of SESSIONS (`session_date=…` → fingerprint)."""
    return {day: digest(recipe, print_) for day, print_ in _dates(partitions).items()}


def event_days(partitions: Mapping[str, str], reach_days: int, recipe: str) -> dict[date, str]:
    """Partials: each event day from the sessions that began on it or at most `reach_days` before."""
    sources = _dates(partitions)
    days = {begun + n * DAY for begun in sources for n in range(reach_days + 1)}
    return {day: digest(recipe, [(s, sources[s]) for s in source_days([day], reach_days) if s in sources])
            for day in sorted(days)}


def source_days(days: Iterable[date], reach_days: int) -> list[date]:
    """Days on which the sessions began that may hold events of `days`."""
    return sorted({day - n * DAY for day in days for n in range(reach_days + 1)})


def as_of_days(times: Sequence[datetime], partials: Days, recipe: str) -> dict[date, str]:
    """As-of dates: each from its as-of times and all event days that begin before the last of them."""
    found: dict[date, str] = {}
    for day in sorted({at.date() for at in times}):
        own = [at for at in times if at.date() == day]
        before = [(d, partials[d]) for d in sorted(partials) if datetime.combine(d, time.min, UTC) < own[-1]]
        found[day] = digest(recipe, [at.isoformat() for at in own], before)
    return found


def with_logins(partials: Days, events: Mapping[str, str]) -> dict[date, str]:
    """The days of the partials, each with what its events (partitions of EVENTS) may say about who a visitor is."""
    logins = _dates(events)
    return {day: digest(partials.get(day), logins.get(day)) for day in sorted({*partials, *logins})}


def stale(wanted: Days, cached: Days, *, present: Iterable[date], expected: Iterable[date]) -> list[date]:
    """Days whose partition has to be written again, in order: changed, new, no longer wanted, or lost.

    `present` are the partitions that are there, `expected` those that cannot be empty: such a day that is up to date
    by its fingerprint, and not there, was lost.
    """
    there = set(present)
    changed = {day for day, print_ in wanted.items() if cached.get(day) != print_}
    dropped = (set(cached) | there) - set(wanted)
    lost = set(expected) & set(wanted) - there
    return sorted(changed | dropped | lost)


@dataclass(frozen=True)
class Chunk:
    """Days of one commit."""

    session_days: tuple[date, ...]
    event_days: tuple[date, ...]

    def __bool__(self) -> bool:
        return bool(self.session_days or self.event_days)


def next_chunk(sessions: Sequence[date], events: Sequence[date], chunk_days: int) -> Chunk:
    """The oldest `chunk_days` of the days that are out of date; an empty chunk when there is none."""
    days = set(sorted({*sessions, *events})[:chunk_days])
    return Chunk(tuple(d for d in sessions if d in days), tuple(d for d in events if d in days))


def partition_dates(partitions: Iterable[str]) -> set[date]:
    """`session_date=2024-01-31` → its date."""
    return {date.fromisoformat(path.split("=", 1)[1]) for path in partitions}


def _dates(partitions: Mapping[str, str]) -> dict[date, str]:
    return {date.fromisoformat(path.split("=", 1)[1]): print_ for path, print_ in sorted(partitions.items())}
