"""Which stretches of visitors' timelines have to be built again after EVENTS has changed.

A *chain* is what pauses of at most the gap link: here, of a visitor's stored sessions and changed events. Whatever
was or now is one chain of events lies within one of these, and no session depends on an event of another chain.
Within a chain sessions are cut from left to right, and a session's first event is all that its beginning depends
on. So a chain with a changed event is built again from the last stored session that began before the first changed
event, to its end:

```
stored sessions     [---a---][--b--]   [----c----]           [--d--]
changed events                      x        x
pause > gap                                         |
built again                  [--------------------]           a and d stay, b and c are retired
```
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame, Window

from purchasepath.config import Sessions
from purchasepath.sessions.engine.cuts import gap_us, max_us

_SESSION = ("session_id", "session_date", "from_us", "num_events")


def find_stretches(changes: DataFrame, sessions: DataFrame, config: Sessions) -> DataFrame:
    """One row per stretch to build again: `user_id`, `from_us`, `to_us` (both inclusive), and `retired`, an array of
    the stored sessions in it (session_id, session_date, from_us, num_events).

    `changes` has user_id and event_ts of every event added or taken out; of SESSIONS a few narrow columns are read.
    Exact if `sessions` holds all days that their `Reach` then names as needed.
    """
    stored = sessions.select("user_id", "session_id", "session_date", "num_events",
                             F.unix_micros("started_at").alias("from_us"), F.unix_micros("ended_at").alias("to_us"))
    timeline = Window.partitionBy("user_id").orderBy("from_us", "to_us", "session_id")
    reached_us = F.max("to_us").over(timeline.rowsBetween(Window.unboundedPreceding, -1))
    so_far = timeline.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    linked = (
        stored.unionByName(_bursts(changes, config), allowMissingColumns=True)
        .withColumn("reached_us", reached_us)
        .withColumn("opens", F.coalesce(F.col("from_us") - F.col("reached_us") > gap_us(config), F.lit(True)))
        .withColumn("chain", F.count_if("opens").over(so_far))
    )
    return linked.groupBy("user_id", "chain").agg(*_chain()).where("changed_us IS NOT NULL").select(
        "user_id", _built_from().alias("from_us"), "to_us",
        F.filter("sessions", lambda s: s["from_us"] >= _built_from()).alias("retired"))


def _bursts(changes: DataFrame, config: Sessions) -> DataFrame:
    """Changed events of a visitor within one slot of the gap's length: they are linked, so first and last tell it all.

    Several times fewer rows than events are left before anything is shuffled.
    """
    at = F.unix_micros("event_ts")
    slot = at - F.pmod(at, F.lit(gap_us(config)))
    return changes.groupBy("user_id", slot.alias("slot")).agg(
        F.min(at).alias("from_us"), F.max(at).alias("to_us")).drop("slot")


def _chain() -> list[Column]:
    stored = F.col("session_id").isNotNull()
    # where two sessions share an instant, only their ids tell whose event it is: no stretch begins there
    apart = F.col("reached_us").isNull() | (F.col("from_us") > F.col("reached_us"))
    return [
        F.min(F.when(~stored, F.col("from_us"))).alias("changed_us"),
        F.min("from_us").alias("first_us"),
        F.max("to_us").alias("to_us"),
        F.collect_list(F.when(stored & apart, F.col("from_us"))).alias("beginnings"),
        F.collect_list(F.when(stored, F.struct(*_SESSION))).alias("sessions"),
    ]


def _built_from() -> Column:
    earlier = F.filter("beginnings", lambda us: us < F.col("changed_us"))
    return F.coalesce(F.array_max(earlier), F.col("first_us"))


@dataclass(frozen=True)
class Reach:
    """Days that some stretches have to do with."""

    needed: set[date]
    """Days of SESSIONS that may hold a session linked to one of them."""
    within: set[date]
    """Days that they touch."""
    losing: set[date]
    """Days of SESSIONS with a session to retire."""
    num_retired: int
    num_retired_events: int
    num_stretches: int


def reach_of(stretches: DataFrame, config: Sessions) -> Reach:
    """Collects one row."""
    before_us = gap_us(config) + max_us(config)
    row = stretches.agg(
        _spans(F.col("from_us") - before_us, F.col("to_us") + gap_us(config)).alias("needed"),
        _spans(F.col("from_us"), F.col("to_us")).alias("within"),
        F.array_distinct(F.flatten(F.collect_set(F.col("retired.session_date")))).alias("losing"),
        F.sum(F.size("retired")).alias("num_retired"),
        F.sum(F.aggregate("retired", F.lit(0).cast("bigint"), lambda total, session: total + session["num_events"]))
        .alias("num_retired_events"),
        F.count(F.lit(1)).alias("num_stretches"),
    ).first()
    assert row is not None
    return Reach(_days(row["needed"]), _days(row["within"]), set(row["losing"]), row["num_retired"] or 0,
                 row["num_retired_events"] or 0, row["num_stretches"])


def days_around(changes: DataFrame, config: Sessions) -> set[date]:
    """Days of SESSIONS in which nearly every stretch of these changes ends. Collects one row."""
    at = F.unix_micros("event_ts")
    before_us = 2 * (gap_us(config) + max_us(config))
    row = changes.agg(_spans(at - before_us, at + gap_us(config)).alias("spans")).first()
    assert row is not None
    return _days(row["spans"])


def keep_users(rows: DataFrame, changes: DataFrame) -> DataFrame:
    """Rows of any table with `user_id` of the visitors who have changes, and (rarely) of somebody else: by 64-bit
    hashes, of which executors can hold many."""
    key = F.xxhash64("user_id").alias("_user")
    users = F.broadcast(changes.select(key).distinct())
    return rows.withColumn("_user", key).join(users, on="_user", how="left_semi").drop("_user")


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
