"""What is kept of each day's events so that features are put together from days: derived from the declared features.

A tile is a stretch of event time: a day, or what divides both a day and the distance of the as-of times. A row holds
the events of one tile that became known in the same tile: `known_from` is the first tile boundary, and so the first
possible as-of time, at which they are known. A row never changes once all events of its tile and `known_from` are in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from purchasepath.tables.features import (
    ITEM_FEATURES_DECLARED,
    USER_FEATURES_DECLARED,
    Aggregation,
    Feature,
)
from purchasepath.tables.tasks import label_features
from purchasepath.tables.types import Column as C
from purchasepath.tables.types import Table

Kind = Literal["count", "total", "low", "high", "seen", "last_us", "last"]

KINDS_OF: Mapping[Aggregation, tuple[Kind, ...]] = {
    "count": ("count",),
    "sum": ("total",),
    "mean": ("total", "count"),
    "min": ("low",),
    "max": ("high",),
    "last": ("last_us", "last"),
    "active_days": ("seen",),
    "recency": ("seen",),
    "count_distinct": (),  # see TOUCHES
    "rank_in_category": (),
    "ratio": (),
    "excess": (),
}
"""What has to be kept of a tile's events for each aggregation."""

_MEANINGS: Mapping[Kind, tuple[str, str]] = {
    "count": ("bigint", "events that have the input"),
    "total": ("bigint", "sum of the input, in whole millionths"),
    "low": ("double", "smallest input"),
    "high": ("double", "largest input"),
    "seen": ("bigint", "time of the last event with a non-zero input (microseconds since 1970)"),
    "last_us": ("bigint", "time of the last event that has the input (microseconds since 1970)"),
    "last": ("double", "input of that event; of several in the same microsecond, the highest"),
}


@dataclass(frozen=True)
class Part:
    """One column of partial aggregates: what is kept of one input."""

    kind: Kind
    input: str

    @property
    def name(self) -> str:
        return f"{self.kind}_{self.input}"

    @property
    def column(self) -> C:
        type_, meaning = _MEANINGS[self.kind]
        text = self == LAST_CATEGORY
        return C(self.name, "string" if text else type_, f"{self.input}: {meaning}", nullable=True)


LAST_CATEGORY = Part("last", "category")


def parts_of(features: Iterable[Feature]) -> tuple[Part, ...]:
    """What the features need, each once, in order of declaration."""
    return tuple(dict.fromkeys(Part(kind, f.input) for f in features for kind in KINDS_OF[f.aggregation]))


def distinct_inputs(features: Iterable[Feature]) -> tuple[str, ...]:
    """Inputs whose different values the features count."""
    return tuple(dict.fromkeys(f.input for f in features if f.aggregation == "count_distinct"))


USER_PARTS = parts_of((*USER_FEATURES_DECLARED, *label_features()))
"""Labels are made of them, too."""
ITEM_PARTS = (*parts_of(ITEM_FEATURES_DECLARED), Part("last_us", "category"), LAST_CATEGORY)

TOUCH_COLUMNS: Mapping[str, str] = {"user": "user_id", "item": "item_id"} | {
    name: name for name in distinct_inputs(USER_FEATURES_DECLARED + ITEM_FEATURES_DECLARED)
    if name not in ("user", "item")
}
"""Input of a `count_distinct` feature (or an entity itself) → its column in TOUCHES."""

_TILE = C("tile", "timestamp", "start of the tile the events happened in")
_KNOWN_FROM = C("known_from", "timestamp", "first tile boundary at which they had happened and arrived")
_EVENT_DATE = C("event_date", "date", "day (UTC) of the events")


def _partials(entity: str, id_meaning: str, grain: str, parts: tuple[Part, ...]) -> Table:
    key = f"{entity}_id"
    return Table(
        f"{entity}_partials", f"{grain}, tile and known_from", "features",
        (C(key, "string", id_meaning), _TILE, _KNOWN_FROM, *(part.column for part in parts), _EVENT_DATE),
        key=(key, "tile", "known_from"), partition_by=("event_date",),
    )


USER_PARTIALS = _partials("user", "keyed pseudonym of the visitor", "visitor", USER_PARTS)
ITEM_PARTIALS = _partials("item", "the shop's item id", "item", ITEM_PARTS)

TOUCHES = Table(
    "touches",
    "visitor, item and further values that features count as different, tile and known_from",
    "features",
    (C("user_id", "string", "keyed pseudonym of the visitor"),
     C("item_id", "string", "the item; null for events without one", nullable=True),
     *(C(name, "string", f"input {name} of the events", nullable=True)
       for name in TOUCH_COLUMNS.values() if name not in ("user_id", "item_id")),
     _TILE, _KNOWN_FROM, _EVENT_DATE),
    partition_by=("event_date",),
)

FEATURE_DAYS = Table(
    "feature_days",
    "cache and day that is up to date as far as its fingerprint says",
    "features",
    (
        C("cache", "string", "session_features, partials or as_of"),
        C("day", "date", "partition of that cache"),
        C("fingerprint", "string", "of all it was computed from: files of SESSIONS, declarations, inputs, settings"),
    ),
    key=("cache", "day"),
)

PARTIAL_TABLES: tuple[Table, ...] = (USER_PARTIALS, ITEM_PARTIALS, TOUCHES, FEATURE_DAYS)
