"""The stretches of timelines to build again (`engine.chains`): the days they have to do with, the rows in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame

from purchasepath.config import Sessions
from purchasepath.sessions.engine.cuts import gap_us, max_us


@dataclass(frozen=True)
class Reach:
    """Days that some stretches have to do with."""

    needed: set[date]
    """Days of SESSIONS that may hold a session linked to one of them."""
    within: set[date]
    """Days that they touch."""
    losing: set[date]
    """Days of SESSIONS with a session to retire."""
    num_stretches: int
    num_retired: int
    num_events: int
    """Events in them, at most."""
    most_of_visitor: int
    """Events of one visitor in them, at most."""


def reach_of(stretches: DataFrame, config: Sessions) -> Reach:
    """Collects one row."""
    before_us = gap_us(config) + max_us(config)
    row = stretches.agg(
        _spans(F.col("from_us") - before_us, F.col("to_us") + gap_us(config)).alias("needed"),
        _spans(F.col("from_us"), F.col("to_us")).alias("within"),
        F.array_distinct(F.flatten(F.collect_set(F.col("retired.session_date")))).alias("losing"),
        F.count(F.lit(1)).alias("num_stretches"),
        F.sum(F.size("retired")).alias("num_retired"),
        F.sum("num_events").alias("num_events"),
        F.max("visitor_events").alias("most_of_visitor"),
    ).first()
    assert row is not None
    numbers = (row[name] or 0 for name in ("num_stretches", "num_retired", "num_events", "most_of_visitor"))
    return Reach(_days(row["needed"]), _days(row["within"]), set(row["losing"]), *numbers)


def keep_near(events: DataFrame, stretches: DataFrame) -> DataFrame:
    """EVENTS of a visitor on the days that a stretch of theirs touches, and (rarely) of somebody else's.

    Late events touch few visitors of the days before: what does not matter is dropped before anything is shuffled,
    by 64-bit hashes, of which executors can hold many.
    """
    days = F.sequence(*(F.to_date(F.timestamp_micros(us)) for us in ("from_us", "to_us")))
    near = stretches.select("user_id", F.explode(days).alias("event_date"))
    key = F.xxhash64("user_id", "event_date").alias("_near")
    keys = F.broadcast(near.select(key).distinct())
    return events.withColumn("_near", key).join(keys, on="_near", how="left_semi").drop("_near")


def keep_within(rows: DataFrame, us: Column, stretches: DataFrame) -> DataFrame:
    """Rows of any table with `user_id` whose time `us` lies in a stretch of their visitor."""
    where = stretches.select(F.col("user_id").alias("_user"), "from_us", "to_us")
    inside = (rows["user_id"] == where["_user"]) & us.between(where["from_us"], where["to_us"])
    return rows.join(where, on=inside, how="left_semi")  # a visitor's stretches do not overlap


def _spans(from_us: Column, to_us: Column) -> Column:
    """The different (first day, last day), a few per day however many rows."""
    return F.collect_set(F.struct(F.to_date(F.timestamp_micros(from_us)), F.to_date(F.timestamp_micros(to_us))))


def _days(spans: Iterable[tuple[date, date]]) -> set[date]:
    return {first + timedelta(days=n) for first, last in spans for n in range((last - first).days + 1)}
