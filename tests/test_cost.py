"""What a run cost, as Spark counted it."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from purchasepath.cost import Cost, Meter


def test_only_what_ran_since_the_meter_was_made_is_counted(spark: SparkSession) -> None:
    rows = spark.range(0, 10_000, 1, 2)
    rows.repartition(2, "id").write.format("noop").mode("overwrite").save()
    meter = Meter(spark)
    assert meter.read() == Cost(0.0, 0, 0)
    rows.repartition(3, "id").write.format("noop").mode("overwrite").save()
    cost = meter.read(events=10_000)
    assert cost.core_seconds > 0
    assert 10_000 < cost.shuffle_bytes < 1_000_000
    assert cost.spill_bytes == 0
    assert cost.events == 10_000


def test_a_rate_extrapolates_to_a_billion_events() -> None:
    cost = Cost(core_seconds=50.0, shuffle_bytes=1_234_000, spill_bytes=0, events=1_000_000)
    assert cost.events_per_core_second == 20_000
    assert cost.core_hours_per_billion_events == pytest.approx(50_000 / 3600)
    assert str(cost) == ("50.0 core-seconds, 1.2 MB shuffled, nothing spilled; "
                         "20,000 events/s per core, 13.9 core-hours per billion events")


def test_a_small_run_is_not_extrapolated() -> None:
    cost = Cost(core_seconds=8.0, shuffle_bytes=0, spill_bytes=0, events=400)
    assert cost.core_hours_per_billion_events is None
    assert str(cost) == "8.0 core-seconds, 0 B shuffled, nothing spilled; 50 events/s per core"


@pytest.mark.parametrize(("events", "seconds"), [(None, 2.0), (0, 2.0), (5, 0.0)])
def test_without_events_or_time_there_is_no_rate(events: int | None, seconds: float) -> None:
    cost = Cost(core_seconds=seconds, shuffle_bytes=0, spill_bytes=7_000_000_000, events=events)
    assert cost.core_hours_per_billion_events is None
    assert str(cost) == f"{seconds} core-seconds, 0 B shuffled, 7.0 GB spilled"
