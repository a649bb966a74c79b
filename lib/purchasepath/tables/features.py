"""Every feature as data: entity, input, aggregation, window, meaning; the feature tables derive from it.

A new feature is one line below; an input that does not exist yet also needs one line in
`purchasepath.features.inputs`. Features are doubles and never null: `missing` says what stands for "never".

Windows are half-open: at as-of time t a window of N days holds the events with
t - N days <= event_ts < t that had arrived by t. Sums and means are exact to a millionth (see
`features.aggregations`), so they do not depend on the order of addition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from purchasepath.tables.types import Column as C
from purchasepath.tables.types import Table

Entity = Literal["user", "item", "session"]
Aggregation = Literal[
    "count",  # events whose input is not null
    "sum",
    "mean",
    "min",
    "max",
    "last",  # input of the last event that has one; of an item's events in the same microsecond, the highest input
    "count_distinct",
    "active_days",  # different days, counted back from the as-of time, with a non-zero input
    "recency",  # days from the last event with a non-zero input to the as-of time
    "rank_in_category",  # of feature `input` among the items of one category at one as-of time: 0 lowest, 1 highest
    "ratio",  # feature `input` / feature `over`; `missing` where `over` is 0
    "excess",  # feature `input` - feature `over`, at least 0
]
DERIVED = ("rank_in_category", "ratio", "excess")
"""Aggregations that read other features instead of events."""

LONGEST_WINDOW_DAYS = 30


@dataclass(frozen=True)
class Feature:
    """One column of a feature table. `window_days=None` means the whole session."""

    name: str
    entity: Entity
    input: str
    aggregation: Aggregation
    window_days: int | None
    meaning: str
    missing: float = 0.0
    over: str = ""

    @property
    def derived(self) -> bool:
        return self.aggregation in DERIVED

    @property
    def column(self) -> C:
        return C(self.name, "double", f"{self.meaning}{self._window_words}; {self.missing:g} where there is none")

    @property
    def _window_words(self) -> str:
        if self.window_days is None:
            return ""
        return " in the last day" if self.window_days == 1 else f" in the last {self.window_days} days"


def _each(entity: Entity, days: tuple[int, ...], stem: str, input: str, aggregation: Aggregation, meaning: str,
          *, missing: float = 0.0, over: str = "") -> tuple[Feature, ...]:
    """`stem_1d`, `stem_7d` …; a derived feature reads the features of its own window."""
    derived = aggregation in DERIVED
    return tuple(
        Feature(f"{stem}_{n}d", entity, f"{input}_{n}d" if derived else input, aggregation, n, meaning, missing,
                f"{over}_{n}d" if over else "")
        for n in days
    )


_USER: tuple[tuple[Feature, ...], ...] = (
    # how often
    _each("user", (1, 7, 30), "events", "events", "sum", "events"),
    _each("user", (1, 7, 30), "views", "views", "sum", "item views"),
    _each("user", (1, 7, 30), "carts", "carts", "sum", "items put in the cart"),
    _each("user", (1, 7, 30), "purchases", "purchases", "sum", "items bought"),
    _each("user", (7, 30), "removes", "removes", "sum", "items taken out of the cart"),
    _each("user", (7, 30), "searches", "searches", "sum", "searches"),
    _each("user", (7, 30), "checkouts", "checkouts", "sum", "checkouts begun"),
    _each("user", (7, 30), "active_days", "events", "active_days", "different days with an event"),
    _each("user", (7, 30), "items", "item", "count_distinct", "different items touched"),
    _each("user", (30,), "categories", "category", "count_distinct", "different categories touched"),
    # how lately, in days; the window where it never happened in it
    _each("user", (30,), "days_since_event", "events", "recency", "days since the last event", missing=30),
    _each("user", (30,), "days_since_cart", "carts", "recency", "days since something was put in the cart", missing=30),
    _each("user", (30,), "days_since_purchase", "purchases", "recency", "days since the last purchase", missing=30),
    # how much
    _each("user", (7, 30), "revenue", "revenue", "sum", "price x quantity bought"),
    _each("user", (7, 30), "price_viewed", "price_viewed", "mean", "mean price of viewed items"),
    _each("user", (30,), "lowest_price_viewed", "price_viewed", "min", "lowest price viewed"),
    _each("user", (30,), "highest_price_viewed", "price_viewed", "max", "highest price viewed"),
    _each("user", (7, 30), "price_position", "price_position", "mean",
          "mean place of the prices viewed in their category's range of prices of that day, 0 lowest to 1 highest",
          missing=0.5),
    # how well
    _each("user", (7, 30), "view_to_cart", "carts", "ratio", "carts per item view", over="views"),
    _each("user", (7, 30), "view_to_purchase", "purchases", "ratio", "purchases per item view", over="views"),
    _each("user", (7, 30), "cart_to_purchase", "purchases", "ratio", "purchases per cart", over="carts"),
    _each("user", (1, 7, 30), "open_carts", "carts", "excess", "carts without a purchase", over="purchases"),
    # how deep
    _each("user", (7, 30), "events_per_active_day", "events", "ratio", "events per active day", over="active_days"),
    _each("user", (7, 30), "events_per_item", "events", "ratio", "events per different item", over="items"),
    # when and from where
    _each("user", (30,), "hour_sin", "hour_sin", "mean", "mean sine of the hour of day (UTC) as an angle"),
    _each("user", (30,), "hour_cos", "hour_cos", "mean", "mean cosine of the hour of day (UTC) as an angle"),
    _each("user", (30,), "night_share", "night", "mean", "share of events from 0 to 6 o'clock (UTC)"),
    _each("user", (30,), "weekend_share", "weekend", "mean", "share of events on Saturday or Sunday (UTC)"),
    _each("user", (7, 30), "promotion_share", "promotion", "mean", "share of events on promoted items"),
    _each("user", (30,), "from_direct", "channel_direct", "max", "1: came directly"),
    _each("user", (30,), "from_search", "channel_search", "max", "1: came from a search engine"),
    _each("user", (30,), "from_email", "channel_email", "max", "1: came from an email"),
    _each("user", (30,), "from_ad", "channel_ad", "max", "1: came from an ad"),
    _each("user", (30,), "is_bot", "burst", "max", "1: made sessions.bot_events_per_window requests (different "
                                                   "times of events) in one slot of sessions.bot_window_seconds"),
)

_ITEM: tuple[tuple[Feature, ...], ...] = (
    _each("item", (1, 7, 30), "views", "views", "sum", "views"),
    _each("item", (1, 7, 30), "carts", "carts", "sum", "times put in a cart"),
    _each("item", (7, 30), "removes", "removes", "sum", "times taken out of a cart"),
    _each("item", (1, 7, 30), "purchases", "purchases", "sum", "times bought"),
    _each("item", (7, 30), "revenue", "revenue", "sum", "price x quantity bought"),
    _each("item", (7,), "users", "user", "count_distinct", "different visitors"),
    _each("item", (30,), "days_since_view", "views", "recency", "days since the last view", missing=30),
    _each("item", (30,), "days_since_purchase", "purchases", "recency", "days since the last purchase", missing=30),
    _each("item", (7, 30), "view_to_cart", "carts", "ratio", "carts per view", over="views"),
    _each("item", (7, 30), "view_to_purchase", "purchases", "ratio", "purchases per view", over="views"),
    _each("item", (30,), "price", "price", "last", "last known price"),
    _each("item", (30,), "lowest_price", "price", "min", "lowest price"),
    _each("item", (30,), "highest_price", "price", "max", "highest price"),
    _each("item", (30,), "price_position", "price", "rank_in_category",
          "share of the other items of its category that are cheaper", missing=0.5),
    _each("item", (7, 30), "promotion_share", "promotion", "mean", "share of events while on promotion"),
    (Feature("views_trend", "item", "views_7d", "ratio", 30, "share of the views that fell into the last 7 days",
             over="views_30d"),),
)


def _session(name: str, input: str, aggregation: Aggregation, meaning: str, missing: float = 0.0,
             over: str = "") -> Feature:
    return Feature(name, "session", input, aggregation, None, meaning, missing, over)


SESSION_FEATURES_DECLARED: tuple[Feature, ...] = (
    _session("events", "events", "sum", "events"),
    _session("views", "views", "sum", "item views"),
    _session("searches", "searches", "sum", "searches"),
    _session("carts", "carts", "sum", "items put in the cart"),
    _session("removes", "removes", "sum", "items taken out of the cart"),
    _session("checkouts", "checkouts", "sum", "checkouts begun"),
    _session("purchases", "purchases", "sum", "items bought"),
    _session("revenue", "revenue", "sum", "price x quantity bought"),
    _session("items", "item", "count_distinct", "different items"),
    _session("categories", "category", "count_distinct", "different categories"),
    _session("duration_minutes", "offset_minutes", "max", "minutes from the first to the last event"),
    _session("minutes_per_event", "duration_minutes", "ratio", "pace: duration_minutes / events", over="events"),
    _session("events_per_item", "events", "ratio", "depth: events per different item", over="items"),
    _session("view_to_cart", "carts", "ratio", "carts per item view", over="views"),
    _session("open_carts", "carts", "excess", "carts without a purchase", over="purchases"),
    _session("minutes_to_cart", "minutes_to_cart", "min", "minutes from the first event to the first cart"),
    _session("price_viewed", "price_viewed", "mean", "mean price of viewed items"),
    _session("lowest_price_viewed", "price_viewed", "min", "lowest price viewed"),
    _session("highest_price_viewed", "price_viewed", "max", "highest price viewed"),
    _session("last_price_viewed", "price_viewed", "last", "price viewed last"),
    _session("promotion_share", "promotion", "mean", "share of events on promoted items"),
    _session("start_hour", "start_hour", "max", "hour of day (UTC) of the first event, 0-23"),
    _session("start_weekday", "start_weekday", "max", "weekday (UTC) of the first event, 0 Monday to 6 Sunday"),
    _session("from_direct", "channel_direct", "max", "1: came directly"),
    _session("from_search", "channel_search", "max", "1: came from a search engine"),
    _session("from_email", "channel_email", "max", "1: came from an email"),
    _session("from_ad", "channel_ad", "max", "1: came from an ad"),
    _session("is_bot", "session_is_bot", "max", "1: flagged as a bot's"),
)

USER_FEATURES_DECLARED: tuple[Feature, ...] = tuple(f for group in _USER for f in group)
ITEM_FEATURES_DECLARED: tuple[Feature, ...] = tuple(f for group in _ITEM for f in group)
USER_FEATURE_NAMES: tuple[str, ...] = tuple(f.name for f in USER_FEATURES_DECLARED)
"""What the model sees of a user beside the events, in this order."""

_AS_OF = C("as_of", "timestamp", "only events before this time that had arrived by it are counted")
_AS_OF_DATE = C("as_of_date", "date", "day (UTC) of as_of")


def check_features(features: tuple[Feature, ...]) -> tuple[Feature, ...]:
    """The features themselves, once every name is known to be unique and every derived one to read earlier ones."""
    seen: set[str] = set()
    for f in features:
        unknown = {f.input, f.over or f.input} - seen if f.derived else set()
        if f.name in seen or unknown:
            raise ValueError(f"{f.entity} feature {f.name}: declared twice, or reads unknown {sorted(unknown)}")
        if f.window_days is not None and not 0 < f.window_days <= LONGEST_WINDOW_DAYS:
            raise ValueError(f"{f.entity} feature {f.name}: window of {f.window_days} days; "
                             f"expected 1 to {LONGEST_WINDOW_DAYS} (LONGEST_WINDOW_DAYS)")
        seen.add(f.name)
    return features


USER_FEATURES = Table(
    "user_features",
    "visitor and as-of time, for every visitor with an event known by then",
    "features",
    (C("user_id", "string", "keyed pseudonym of the visitor"), _AS_OF,
     *(f.column for f in check_features(USER_FEATURES_DECLARED)), _AS_OF_DATE),
    key=("user_id", "as_of"),
    partition_by=("as_of_date",),
)

ITEM_FEATURES = Table(
    "item_features",
    "item and as-of time, for every item with an event known by then",
    "features",
    (C("item_id", "string", "the shop's item id"), _AS_OF,
     C("category", "string", "last known category in the last 30 days", nullable=True),
     *(f.column for f in check_features(ITEM_FEATURES_DECLARED)), _AS_OF_DATE),
    key=("item_id", "as_of"),
    partition_by=("as_of_date",),
)

SESSION_FEATURES = Table(
    "session_features",
    "session, over all its events (known when it has ended, not at an as-of time)",
    "features",
    (C("session_id", "string", "as in sessions"), C("user_id", "string", "keyed pseudonym of the visitor"),
     C("started_at", "timestamp", "time of the first event"),
     *(f.column for f in check_features(SESSION_FEATURES_DECLARED)),
     C("session_date", "date", "day (UTC) of started_at")),
    key=("session_id",),
    partition_by=("session_date",),
)

FEATURE_TABLES: tuple[Table, ...] = (USER_FEATURES, ITEM_FEATURES, SESSION_FEATURES)
