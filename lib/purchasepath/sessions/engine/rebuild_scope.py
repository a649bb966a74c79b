"""Scope of a rebuild: the days to read, touch and rewrite, and row counts. One per bucket of visitors; they add up."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from purchasepath.config import Sessions
from purchasepath.sessions.engine.rules import gap_us, max_us
from purchasepath.times import DAY_US

_DAYS, _NUMBERS = ("needed", "within", "losing"), ("num_ranges", "num_retired", "num_events", "most_of_visitor")
SCOPE_DDL = f"struct<{', '.join([f'{name}: array<date>' for name in _DAYS] + [f'{n}: bigint' for n in _NUMBERS])}>"
_TYPE = pa.struct([*((name, pa.list_(pa.date32())) for name in _DAYS), *((name, pa.int64()) for name in _NUMBERS)])


@dataclass(frozen=True)
class RebuildScope:
    """Of some dirty ranges. No visitor's are in two of them."""

    needed: frozenset[date] = frozenset()
    """Days of SESSIONS that may hold a session linked to one of them."""
    within: frozenset[date] = frozenset()
    """Days that they touch."""
    losing: frozenset[date] = frozenset()
    """Days of SESSIONS with a session to retire."""
    num_ranges: int = 0
    num_retired: int = 0
    num_events: int = 0
    """Events in them, at most."""
    most_of_visitor: int = 0
    """Events of one visitor in them, at most."""

    def __add__(self, other: RebuildScope) -> RebuildScope:
        return RebuildScope(
            self.needed | other.needed, self.within | other.within, self.losing | other.losing,
            self.num_ranges + other.num_ranges, self.num_retired + other.num_retired,
            self.num_events + other.num_events, max(self.most_of_visitor, other.most_of_visitor))


def scope_of(ranges: pa.Table, config: Sessions) -> RebuildScope:
    """The scope of all dirty ranges of some visitors, in order of visitor."""
    if not len(ranges):
        return RebuildScope()
    users = ranges["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    from_us, to_us, num_events = (ranges[name].to_numpy() for name in ("from_us", "to_us", "num_events"))
    retired = ranges["retired"].combine_chunks().flatten()
    return RebuildScope(
        _days(from_us - gap_us(config) - max_us(config), to_us + gap_us(config)), _days(from_us, to_us),
        frozenset(retired.field("session_date").unique().to_pylist()), len(ranges), len(retired),
        int(num_events.sum()), int(np.bincount(users, weights=num_events).max()))


def scope_column(scope: RebuildScope) -> pa.Array:
    """One value (`SCOPE_DDL`)."""
    return pa.array([asdict(scope) | {name: sorted(getattr(scope, name)) for name in _DAYS}], _TYPE)


def read_scope(found: DataFrame) -> RebuildScope:
    """The sum of all rows' `scope`; collects them."""
    rows = (row["scope"] for row in found.select("scope").collect())
    scopes = (RebuildScope(**row.asDict() | {name: frozenset(row[name]) for name in _DAYS}) for row in rows)
    return sum(scopes, RebuildScope())


def _days(from_us: np.ndarray, to_us: np.ndarray) -> frozenset[date]:
    """All days of some spans: few different ones, however many spans."""
    spans = np.unique(np.stack([from_us, to_us]) // DAY_US, axis=1).T.tolist()
    return frozenset(date(1970, 1, 1) + timedelta(days=day) for first, last in spans for day in range(first, last + 1))
