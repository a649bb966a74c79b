"""The rows that lie in stretches of timelines to build again (`engine.chains`)."""

from __future__ import annotations

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame


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
