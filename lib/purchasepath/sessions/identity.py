"""Visitors who log in: which account stands behind a visitor, since when, and since when that is known.

A stretch is a visitor's longest run of logged-in events with one account, in the order (event_ts, tie_order,
event_id); events without a login do not end it. Order is total, so stretches do not depend on how events are
partitioned.

Two questions, two answers, from one table:

- who is it, as we know today? `stitch`: an event with a login belongs to that account, one without to the account of
  the stretch it falls in or, before the first login, to the first account; who never logged in is a person of his own;
- who was it, as it was known at time t? `persons_as_of`: the account of the visitor's last stretch that was known at
  t. A login of tomorrow changes nothing about it, which is what training needs.
"""

from __future__ import annotations

import pyspark.sql.functions as F
from pyspark.sql import DataFrame, Window

from purchasepath.tables.catalog import IDENTITIES, PERSONS
from purchasepath.tables.event_order import tie_order
from purchasepath.times import known_from_us


def link_accounts(events: DataFrame) -> DataFrame:
    """IDENTITIES of EVENTS: one row per stretch.

    First within each day, then over what the days have come to, so no task sorts all the events of a visitor: what it
    gets of a visitor is a day's events, and then a row per day and change of account.
    """
    known_us = known_from_us(F.unix_micros("event_ts"), F.unix_micros("arrived_at"))
    logins = events.where("login_id IS NOT NULL").select(
        "user_id", F.to_date("event_ts").alias("day"), "login_id", "event_ts", "event_id",
        tie_order().alias("tie_order"), F.timestamp_micros(known_us).alias("known_from"),
        F.lit(1).cast("bigint").alias("num_events"))
    of_days = _join_neighbours(logins, ["user_id", "day"], ["event_ts", "tie_order", "event_id"])
    of_days = of_days.withColumnRenamed("stretch", "number").withColumnRenamed("valid_from", "event_ts")
    stretches = _join_neighbours(of_days, ["user_id"], ["day", "number"])
    following = Window.partitionBy("user_id").orderBy("stretch")
    return IDENTITIES.select(stretches.withColumn("valid_to", F.lead("valid_from").over(following)))


def _join_neighbours(rows: DataFrame, key: list[str], order: list[str]) -> DataFrame:
    """Neighbours in `order` within `key` that have the same account as one row: key, stretch (from 1), login_id, …"""
    line = Window.partitionBy(*key).orderBy(*order)
    changed = F.coalesce(F.col("login_id") != F.lag("login_id").over(line), F.lit(True))
    so_far = line.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    numbered = rows.withColumn("changed", changed.cast("int")).withColumn("stretch", F.sum("changed").over(so_far))
    return numbered.groupBy(*key, "stretch").agg(
        F.min("login_id").alias("login_id"),  # all of them have the same
        F.min("event_ts").alias("valid_from"), F.min("known_from").alias("known_from"),
        F.sum("num_events").alias("num_events"),
    )


def persons(events: DataFrame, identities: DataFrame) -> DataFrame:
    """PERSONS: every visitor with the account of the last stretch, or as a person of his own."""
    latest = identities.groupBy("user_id").agg(
        F.max_by("login_id", "stretch").alias("login_id"), F.min("valid_from").alias("since"),
        F.count_distinct("login_id").cast("int").alias("num_accounts"),
    )
    return PERSONS.select(
        events.select("user_id").distinct().join(latest, on="user_id", how="left")
        .select("user_id", F.coalesce("login_id", "user_id").alias("person_id"), "since",
                F.coalesce("num_accounts", F.lit(0)).alias("num_accounts"))
    )


def persons_as_of(points: DataFrame, identities: DataFrame) -> DataFrame:
    """`points` (distinct; at least user_id, as_of) with `person_id`: the visitor's account as it was known at as_of.

    Exact with late events too: the last logged-in event known at t lies in the last stretch that has any event
    known at t, because stretches of a visitor follow each other in time.
    """
    known = identities.select("user_id", "login_id", "stretch", "known_from")
    key = points.columns
    matched = points.join(known, on="user_id", how="left").groupBy(*key).agg(
        F.max_by("login_id", F.when(F.col("known_from") <= F.col("as_of"), F.col("stretch"))).alias("login_id"))
    return matched.select(*key, F.coalesce("login_id", "user_id").alias("person_id"))


def stitch(events: DataFrame, identities: DataFrame) -> DataFrame:
    """`events` with the person in place of the visitor in `user_id`. Rows neither vanish nor multiply.

    Stretches of a visitor are few: they travel as one array per visitor, so nothing is joined by ranges.
    """
    stretch = F.struct("stretch", "valid_from", "login_id")
    by_visitor = identities.groupBy("user_id").agg(F.array_sort(F.collect_list(stretch)).alias("stretches"))
    begun = F.filter("stretches", lambda s: s["valid_from"] <= F.col("event_ts"))
    last, first = F.get(begun, F.size(begun) - 1)["login_id"], F.get("stretches", F.lit(0))["login_id"]
    joined = events.join(by_visitor, on="user_id", how="left")
    return joined.withColumn("user_id", F.coalesce("login_id", last, first, "user_id")).select(*events.columns)
