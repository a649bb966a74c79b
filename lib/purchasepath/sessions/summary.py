"""Events to SESSIONS: one row per session with its summary and its events as parallel arrays."""

from __future__ import annotations

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame

from purchasepath.config import Sessions
from purchasepath.sessions.boundaries import add_block
from purchasepath.sessions.caps import session_starts
from purchasepath.tables.catalog import SESSIONS

ID_LENGTH = 32
"""Hex digits of a session id: 128 bits, so two ids among 10^12 meet with a chance below 10^-14."""

_ORDER = ("event_us", "event_id")
_CARRIED = ("event_type", "item_id", "category", "price", "quantity", "promotion", "channel", "campaign", "device",
            "source_session")


def sessionize(events: DataFrame, config: Sessions) -> DataFrame:
    """SESSIONS of EVENTS. The same rows for any order and partitioning of `events`; event ids must be unique.

    One shuffle, by user_id: blocks, the fold and the summary stay inside a visitor's partition.
    """
    return events.transform(add_block, config).transform(_summarize_blocks).transform(
        _split_blocks, config).transform(_summarize_sessions, config)


def session_id(user_id: Column, first_us: Column, first_event_id: Column) -> Column:
    """The same wherever, whenever and on however many partitions it is computed."""
    return F.substring(F.sha2(F.concat_ws("|", user_id, first_us.cast("string"), first_event_id), 256), 1, ID_LENGTH)


def is_bot(event_us: Column, config: Sessions) -> Column:
    """Whether the session (ascending `event_us` array) has too many events, in some window or at all.

    A window of `bot_window_seconds` includes both its ends.
    """
    n, window_us = config.bot_events_per_window, round(config.bot_window_seconds * 1_000_000)
    firsts = F.sequence(F.lit(0), F.size(event_us) - n)
    crowded = F.exists(firsts, lambda i: F.get(event_us, i + (n - 1)) - F.get(event_us, i) <= window_us)
    return (F.size(event_us) >= config.bot_max_events) | F.when(F.size(event_us) >= n, crowded).otherwise(False)


def _summarize_blocks(events: DataFrame) -> DataFrame:
    """One row per block: its events in order, and why it ended."""
    lag = (F.unix_micros("arrived_at") - F.col("event_us")).alias("arrival_lag_us")
    event = F.struct(*_ORDER, lag, *_CARRIED)
    return events.groupBy("user_id", "block").agg(
        # collect_list promises no order; the struct sorts by its first fields, (event_us, event_id)
        F.array_sort(F.collect_list(event)).alias("events"),
        F.max("ends").alias("ends"),  # one event of a block has one
    )


def _split_blocks(blocks: DataFrame, config: Sessions) -> DataFrame:
    """One row per session: its events in order, and why the next one began."""
    starts, size = F.col("starts"), F.size("events")
    stretches = F.transform(starts, lambda start, i: F.struct(
        start["at"].alias("first"),
        F.coalesce(F.get(starts, i + 1)["at"], size + 1).alias("stop"),
        F.coalesce(F.get(starts, i + 1)["reason"], F.col("ends")).alias("cut_reason"),
    ))
    return (
        blocks.withColumn("starts", session_starts(F.col("events"), config))
        .select("user_id", "events", F.explode(stretches).alias("stretch"))
        .select(
            "user_id",
            F.slice("events", F.col("stretch.first"), F.col("stretch.stop") - F.col("stretch.first")).alias("events"),
            "stretch.cut_reason",
        )
    )


def _summarize_sessions(sessions: DataFrame, config: Sessions) -> DataFrame:
    """SESSIONS from the session's events in order (`events`), `user_id` and `cut_reason`."""
    events = F.col("events")
    arrays = sessions.select(
        "user_id", "cut_reason",
        *(events[name].alias(f"all_{name}") for name in (*_ORDER, "arrival_lag_us", *_CARRIED)),
    ).withColumns({"first_us": F.get("all_event_us", F.lit(0)), "last_us": F.array_max("all_event_us")})
    return SESSIONS.select(arrays.withColumns(_summary(config)).withColumns(_parallel_arrays()))


def _summary(config: Sessions) -> dict[str, Column]:
    first_us, last_us, us = F.col("first_us"), F.col("last_us"), F.col("all_event_us")
    return {
        "session_id": session_id(F.col("user_id"), first_us, F.get("all_event_id", F.lit(0))),
        "started_at": F.timestamp_micros(first_us),
        "ended_at": F.timestamp_micros(last_us),
        "duration_s": (last_us - first_us) / 1e6,
        "num_events": F.size(us),
        "num_items": F.size(F.array_distinct(F.array_compact("all_item_id"))),
        "num_searches": _num("search"),
        "num_views": _num("view"),
        "num_carts": _num("cart"),
        "num_removes": _num("remove"),
        "num_checkouts": _num("checkout"),
        "num_purchases": _num("purchase"),
        "revenue": _revenue(),
        "channel": _first_known("all_channel"),
        "campaign": _first_known("all_campaign"),
        "device": _first_known("all_device"),
        "promotion": F.array_contains("all_promotion", True),
        "is_bot": is_bot(us, config),
        "source_session": _first_known("all_source_session"),
        "session_date": F.to_date(F.timestamp_micros(first_us)),
    }


def _parallel_arrays() -> dict[str, Column]:
    first_us = F.col("first_us")
    return {
        "event_ids": F.col("all_event_id"),
        "event_types": F.col("all_event_type"),
        "item_ids": F.col("all_item_id"),
        "categories": F.col("all_category"),
        "prices": F.col("all_price"),
        "quantities": F.col("all_quantity"),
        "promotions": F.col("all_promotion"),
        "channels": F.col("all_channel"),
        "offsets_us": F.transform("all_event_us", lambda us: us - first_us),
        "arrival_lags_us": F.col("all_arrival_lag_us"),
    }


def _num(event_type: str) -> Column:
    """Events of the type. (array_remove is compiled; a filter with a lambda is interpreted and much slower.)"""
    return F.size("all_event_type") - F.size(F.array_remove("all_event_type", event_type))


def _first_known(array: str) -> Column:
    return F.get(F.array_compact(array), F.lit(0))


def _revenue() -> Column:
    """Price x quantity over purchases, added in event order, so the last digit does not depend on the partitioning."""
    paid = F.transform("all_price", lambda price, i: F.when(
        F.get("all_event_type", i) == "purchase", F.coalesce(price * F.get("all_quantity", i), F.lit(0.0))
    ).otherwise(F.lit(0.0)))
    total = F.aggregate(paid, F.lit(0.0), lambda sum_, amount: sum_ + amount)
    return F.when(F.array_contains("all_event_type", "purchase"), total).otherwise(F.lit(0.0))
