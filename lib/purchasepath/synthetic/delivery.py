"""How true events reach the shop's log: late, twice, and among broken lines.

Pure functions of frames and columns. What happens to an event depends on a hash of (seed, purpose, event id) only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyspark.sql.functions as F

from purchasepath.config import Simulate

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

RAW_KEYS = (
    "id", "ts", "received", "visitor", "login", "type", "item", "category", "brand", "price", "quantity", "order",
    "query", "channel", "campaign", "device", "promo",
)
"""Keys of a raw line; keys without a value are left out."""
ORIGINAL, REPEATED, BROKEN = "original", "repeated", "broken"
FASTEST_US, SLOWEST_US = 20_000, 3_000_000
LATE_HOURS = (2.0, 72.0)
REDELIVERED_SECONDS = 3600.0
BREAKAGES = ("truncated", "unknown type", "negative price", "unparseable time", "no visitor")


def uniform(seed: int, purpose: str, event_id: Column) -> Column:
    """A number in [0, 1) from the hash of its arguments: 53 bits, as many as a double holds."""
    bits = F.shiftrightunsigned(F.xxhash64(F.lit(seed), F.lit(purpose), event_id), 11)
    return bits.cast("double") / F.lit(float(2**53))


def public_id(event_id: Column) -> Column:
    """The id that the shop's log has for an event: its hash, which does not tell whose event it is."""
    return F.substring(F.sha2(event_id, 256), 1, 20)


def list_events(journeys: DataFrame) -> DataFrame:
    """One row per true event: the raw keys except `received`, with `ts_us` for `ts`, and `session`."""
    event = F.col("event")
    logged_in = event["number"] > F.col("login_from")  # numbers count from 1, positions from 0
    return journeys.select("visitor", "login", "login_from", F.explode("events").alias("event")).select(
        F.concat_ws("-", "visitor", F.lpad(event["number"].cast("string"), 6, "0")).alias("id"),
        "visitor",
        F.when(logged_in, F.col("login")).alias("login"),
        "event.*",
    ).drop("number")


def add_arrival(events: DataFrame, simulate: Simulate) -> DataFrame:
    """Adds `is_late`, `is_repeated`, `has_broken_twin` and `received_us`."""
    seed, event_id = simulate.seed, F.col("id")
    shortest, longest = (int(hours * 3_600_000_000) for hours in LATE_HOURS)
    draw = uniform(seed, "arrival", event_id)
    prompt_us = FASTEST_US + draw * (SLOWEST_US - FASTEST_US)
    late_us = shortest + draw * draw * (longest - shortest)
    is_late = uniform(seed, "late", event_id) < simulate.late_share
    return events.withColumns({
        "is_late": is_late,
        "is_repeated": uniform(seed, "repeated", event_id) < simulate.duplicate_share,
        "has_broken_twin": uniform(seed, "broken", event_id) < simulate.malformed_share,
        "received_us": F.col("ts_us") + F.when(is_late, late_us).otherwise(prompt_us).cast("bigint"),
    })


def deliver(events: DataFrame, simulate: Simulate) -> DataFrame:
    """One row per line of the log, in columns `kind`, `received_us` and `line`; `events` as from `add_arrival`.

    Half of the repeated lines are exact copies; the others arrived again, up to an hour later. Broken lines are
    additional ones, with ids of their own, so that the true events are all there and valid.
    """
    seed, event_id = simulate.seed, F.col("id")
    copies = F.array_compact(F.array(
        F.lit(ORIGINAL),
        F.when(F.col("is_repeated"), F.lit(REPEATED)),
        F.when(F.col("has_broken_twin"), F.lit(BROKEN)),
    ))
    again = uniform(seed, "again", event_id)
    again_us = F.when(again < 0.5, F.lit(0)).otherwise((again - 0.5) * 2 * REDELIVERED_SECONDS * 1e6).cast("bigint")
    lines = events.withColumn("kind", F.explode(copies)).withColumn(
        "received_us", F.col("received_us") + F.when(F.col("kind") == REPEATED, again_us).otherwise(F.lit(0))
    )
    number = (uniform(seed, "breakage", event_id) * len(BREAKAGES)).cast("int")
    breakage = F.element_at(F.array(*map(F.lit, BREAKAGES)), number + 1)
    return lines.select(
        "kind", "received_us", raw_line(F.when(F.col("kind") == BROKEN, breakage).otherwise("none")).alias("line")
    )


def raw_line(breakage: Column) -> Column:
    """The event as a JSON object with the raw keys; unless `breakage` is none, one that no event can be read from."""
    values = {
        "id": F.concat(public_id(F.col("id")), F.when(breakage == "none", "").otherwise("-broken")),
        "ts": F.when(breakage == "unparseable time", "yesterday at noon").otherwise(iso_time(F.col("ts_us"))),
        "received": iso_time(F.col("received_us")),
        "visitor": F.when(breakage != "no visitor", F.col("visitor")),
        "type": F.when(breakage == "unknown type", "teleport").otherwise(F.col("type")),
        "price": F.when(breakage == "negative price", -F.coalesce("price", F.lit(1.0))).otherwise(F.col("price")),
    }
    whole = F.to_json(F.struct(*(values.get(key, F.col(f"`{key}`")).alias(key) for key in RAW_KEYS)))
    kept = F.floor(F.length(whole) * 0.6).cast("int")
    return F.when(breakage == "truncated", F.substring(whole, F.lit(1), kept)).otherwise(whole)


def iso_time(us: Column) -> Column:
    """Microseconds from the epoch as 2024-01-03T10:15:30.123456Z, in the session's zone, which is UTC in every job."""
    return F.date_format(F.timestamp_micros(us), "yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'")
