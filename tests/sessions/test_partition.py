"""Who is heavy, and where their timelines are divided."""

from __future__ import annotations

from itertools import pairwise

import pyspark.sql.functions as F
import pytest
from pyspark.sql import SparkSession

from purchasepath.sessions.engine.partition import plan_partitions
from purchasepath.sessions.engine.source import FrameSource


@pytest.mark.parametrize(("bucket_events", "chunks", "tolerance"), [(6_400, 4, 0.5), (60, 334, 0.05)])
def test_a_heavy_visitor_is_divided_about_evenly(
        spark: SparkSession, bucket_events: int, chunks: int, tolerance: float) -> None:
    """By a sample of the times, one in a hundred; by all times, where buckets are as small as those of tests."""
    users = F.when(F.col("id") % 5 > 0, "kiosk").otherwise(F.concat(F.lit("u"), F.col("id") % 500))
    rows = spark.range(0, 25_000, 1, 3).select(
        users.alias("user_id"), F.timestamp_micros(F.col("id") * F.col("id")).alias("event_ts"))
    partitioner = plan_partitions(FrameSource(rows), 4, bucket_events)
    [kiosk] = partitioner.heavy
    assert (kiosk.user_id, partitioner.num_buckets) == ("kiosk", max(4, -(-25_000 // bucket_events)))
    bounds = [0.0, *(border.event_us ** 0.5 for border in kiosk.borders), 25_000.0]
    assert len(kiosk.borders) == chunks - 1
    sizes = [0.8 * (after - before) for before, after in pairwise(bounds)]
    assert all(abs(size * chunks / 20_000 - 1) <= tolerance for size in sizes)
    assert plan_partitions(FrameSource(rows.where("user_id <> 'kiosk'")), 4, 10 * bucket_events).heavy == ()
