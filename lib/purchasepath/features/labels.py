"""Labels: features that look forward, from the same tiles of USER_PARTIALS.

    as-of time t, horizon 2 days      t            t + 1 d        t + 2 d
    tiles                         … ──┤ total 3.0  │  total 0.0   ├─ …         label "sum": 3.0, "any": 1, "none": 0

A label is truth and not input: it holds everything on record, whenever it arrived.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame

from purchasepath.errors import ConfigError
from purchasepath.features.aggregations import MILLION
from purchasepath.features.as_of import as_of_us, positions_from, tile_length_us
from purchasepath.tables.partials import Part
from purchasepath.tables.tasks import LABELLED, Label, Task
from purchasepath.times import HOUR_US


def summarize_labels(partials: DataFrame, times: list[datetime], horizon_us: Mapping[str, int]) -> DataFrame:
    """One row per user and as-of time of `times` (of `as_of_times`) with an event in the longest horizon after it.

    Columns user_id, at_us and a double for each task in `horizon_us`, which gives the task's horizon.
    """
    tile_us = F.unix_micros("tile")
    longest_us = max(horizon_us.values())
    ahead_us = F.col("tile_us") - F.col("at_us")
    totals = {name: F.sum(F.when(ahead_us < us, F.col(_total(name)))) for name, us in horizon_us.items()}
    inputs = dict.fromkeys(_total(name) for name in horizon_us)
    return (
        partials.select("user_id", tile_us.alias("tile_us"), *inputs)
        .withColumn("position", F.explode(positions_from(times, F.col("tile_us") - longest_us + 1, F.col("tile_us"))))
        .withColumn("at_us", as_of_us(times, F.col("position")))
        .groupBy("user_id", "at_us").agg(*(total.alias(name) for name, total in totals.items()))
        .select("user_id", "at_us", *(_answer(name).alias(name) for name in horizon_us))
    )


def add_labels(points: DataFrame, labels: DataFrame) -> DataFrame:
    """`points` (user_id, at_us, …) with the columns of `summarize_labels`; without an event ahead nothing happened."""
    joined = points.join(labels, on=["user_id", "at_us"], how="left")  # unique among the labels
    return joined.fillna({task.name: float(_label(task).aggregation == "none") for task in LABELLED})


def check_horizons(hours: Mapping[str, float], every_hours: float) -> None:
    """Raises ConfigError where a horizon does not end between two tiles."""
    tile_us = tile_length_us(every_hours)
    faults = [
        f"dataset.horizon_hours={value:g} of {name} is no multiple of {tile_us / HOUR_US:g} h, the steps in which "
        f"features.every_hours={every_hours:g} has events added up; take a multiple, or a smaller features.every_hours"
        for name, value in hours.items() if round(value * HOUR_US) % tile_us
    ]
    if faults:
        raise ConfigError(list(dict.fromkeys(faults)))


def _answer(name: str) -> Column:
    """The label from its total in millionths, which is null where no event has the input."""
    total = F.coalesce(F.col(name), F.lit(0).cast("bigint"))
    aggregation = _label_of(name).aggregation
    if aggregation == "sum":
        return total / MILLION
    return ((total == 0) if aggregation == "none" else (total != 0)).cast("double")


def _total(name: str) -> str:
    return Part("total", _label_of(name).input).name


def _label_of(name: str) -> Label:
    return _label(next(task for task in LABELLED if task.name == name))


def _label(task: Task) -> Label:
    assert isinstance(task.label, Label)
    return task.label
