"""Where a visitor's timeline is cut whatever came before: after a pause, and at local midnight.

Where no next event is known, a pause is taken for granted. So a session depends only on the events linked to its
own by pauses of at most the gap, not on how much of the visitor's other doings is known.

What lies between two such cuts is a block. Campaigns and caps depend on the session they end and cut blocks
further (see `caps`). Times are microseconds since the epoch, so `idle > gap` is exact.
"""

from __future__ import annotations

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame, Window

from purchasepath.config import Sessions

MINUTE_US = 60_000_000


def ends_block(event_us: Column, next_us: Column, day: Column, next_day: Column, config: Sessions) -> Column:
    """Why the block ends here: `gap` (also where no next event is known), `midnight`; null where it goes on.

    An event exactly `gap_minutes` after the one before stays in. Where both apply, `gap` is the reason.
    """
    gap_us = round(config.gap_minutes * MINUTE_US)
    paused = next_us.isNull() | (next_us - event_us > gap_us)
    reason = F.when(paused, "gap")
    return reason.when(next_day != day, "midnight") if config.cut_at_midnight else reason


def add_block(events: DataFrame, config: Sessions) -> DataFrame:
    """`events` with `event_us`, `ends` (see `ends_block`) and `block`, the number of blocks the visitor closed before.

    ```
    event_ts  10:00  10:20  11:00  11:05
    ends      -      gap    -      gap
    block     0      0      1      1
    ```
    Order within a visitor is (event_ts, event_id), which is total: ties cannot move.
    """
    timeline = Window.partitionBy("user_id").orderBy("event_us", "event_id")
    before = timeline.rowsBetween(Window.unboundedPreceding, -1)
    day = F.to_date(F.from_utc_timestamp("event_ts", config.timezone))
    ends = ends_block(F.col("event_us"), F.lead("event_us").over(timeline), F.col("day"),
                      F.lead("day").over(timeline), config)
    return (
        events.withColumns({"event_us": F.unix_micros("event_ts"), "day": day})
        .withColumn("ends", ends)
        .withColumn("block", F.count("ends").over(before))
        .drop("day")
    )
