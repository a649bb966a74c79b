"""What features are made of: named columns over single events.

An input of user and item features sees nothing that a later or late event could change: that is what makes the
features point-in-time correct. All but those of `company` see one event only. Inputs of session features also see
the session.
An input is null where the event has nothing to say (a search has no price).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pyspark.sql.functions as F
from pyspark.sql import Column

from purchasepath.times import DAY_US, HOUR_US

NIGHT_ENDS_HOUR = 6
_DAYS_MONDAY_TO_FRIDAY = 5
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday; Monday is 0


def _is(event_type: str) -> Column:
    return (F.col("event_type") == event_type).cast("double")


def _channel(name: str) -> Column:
    return (F.col("channel") == name).cast("double")


def _hour(us: Column) -> Column:
    """Hour of the day with its fraction, 0 <= hour < 24 (UTC)."""
    return F.pmod(us, F.lit(DAY_US)) / HOUR_US


def _weekday(us: Column) -> Column:
    return F.pmod(F.floor(us / DAY_US) + _EPOCH_WEEKDAY, F.lit(7))


def _paid() -> Column:
    return F.when(F.col("event_type") == "purchase", F.coalesce(F.col("price") * F.col("quantity"), F.lit(0.0)))


EVENT_INPUTS: Mapping[str, Callable[[], Column]] = {
    "events": lambda: F.lit(1.0),
    "views": lambda: _is("view"),
    "carts": lambda: _is("cart"),
    "removes": lambda: _is("remove"),
    "searches": lambda: _is("search"),
    "checkouts": lambda: _is("checkout"),
    "purchases": lambda: _is("purchase"),
    "orders": lambda: F.col("opens_order").cast("double"),
    "returns": lambda: _is("return"),
    "revenue": _paid,
    "item": lambda: F.col("item_id"),
    "category": lambda: F.col("category"),
    "user": lambda: F.col("user_id"),
    "price": lambda: F.col("price"),
    "price_viewed": lambda: F.when(F.col("event_type") == "view", F.col("price")),
    "price_position": lambda: F.when(F.col("event_type") == "view", F.col("price_position")),
    "promotion": lambda: F.col("promotion").cast("double"),
    "hour_sin": lambda: F.sin(_hour(F.col("event_us")) * (math.tau / 24)),
    "hour_cos": lambda: F.cos(_hour(F.col("event_us")) * (math.tau / 24)),
    "night": lambda: (_hour(F.col("event_us")) < NIGHT_ENDS_HOUR).cast("double"),
    "weekend": lambda: (_weekday(F.col("event_us")) >= _DAYS_MONDAY_TO_FRIDAY).cast("double"),
    "channel_direct": lambda: _channel("direct"),
    "channel_search": lambda: _channel("search"),
    "channel_email": lambda: _channel("email"),
    "channel_ad": lambda: _channel("ad"),
    "burst": lambda: F.col("burst"),
}

SESSION_INPUTS: Mapping[str, Callable[[], Column]] = {
    **EVENT_INPUTS,
    "offset_minutes": lambda: _offset_minutes(),
    "minutes_to_cart": lambda: F.when(F.col("event_type") == "cart", _offset_minutes()),
    "start_hour": lambda: F.floor(_hour(F.col("start_us"))).cast("double"),
    "start_weekday": lambda: _weekday(F.col("start_us")).cast("double"),
    "session_is_bot": lambda: F.col("is_bot").cast("double"),
}


def _offset_minutes() -> Column:
    return (F.col("event_us") - F.col("start_us")) / 60e6
