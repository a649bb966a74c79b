"""Scored users become SCORES and RECOMMENDATIONS: stage, audit, switch.

Everything is computed once into the staging area of a transaction and audited there. Only what passes becomes
visible, all tasks at once, in place of exactly the partitions of (as_of_date, model_name); a rerun replaces them by
the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import or_

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame

from purchasepath.errors import PublishError
from purchasepath.scoring.drift import Drift, ItemChange, measure_drift, measure_item_change
from purchasepath.storage.warehouse import Warehouse
from purchasepath.tables.catalog import RECOMMENDATIONS, SCORES
from purchasepath.tables.tasks import LABEL_NAMES, TASK, Kind

_COMPARED_DAYS = 35
"""Published scores older than this, relative to the new ones, say nothing about drift."""


@dataclass(frozen=True)
class Stamp:
    """What every published row carries: which model answered what, for when, in which run."""

    model_name: str
    model_version: str
    horizon_hours: Mapping[str, float]
    """task of SCORES → how far it looks ahead, in the order of the answers"""
    as_of: datetime
    run_id: str

    @property
    def partition(self) -> dict[str, object]:
        """Of RECOMMENDATIONS."""
        return {"as_of_date": self.as_of.date(), "model_name": self.model_name}

    @property
    def score_partitions(self) -> list[dict[str, object]]:
        """Of all tasks: what an earlier model of this name answered, and this one does not, goes away."""
        return [{"as_of_date": self.as_of.date(), "task": task, "model_name": self.model_name} for task in LABEL_NAMES]

    def columns(self, run_number: int) -> dict[str, Column]:
        return {
            "as_of": F.lit(self.as_of), "model_version": F.lit(self.model_version), "run_id": F.lit(self.run_id),
            "run_number": F.lit(run_number).cast("bigint"), "as_of_date": F.lit(self.as_of.date()),
            "model_name": F.lit(self.model_name),
        }


@dataclass(frozen=True)
class Published:
    """What was published: rows per table, users without any recommendation, different items shown, drift per task."""

    rows: dict[str, int]
    users_without: int
    items_shown: int
    drifts: list[Drift]
    item_change: ItemChange | None


def publish(warehouse: Warehouse, scored: DataFrame, stamp: Stamp, *, users: int, max_drift: float) -> Published:
    """Publish the frame of `udf.score_users`, which is computed here and only once.

    `users` is how many rows it must have. Raises PublishError with every fault found; nothing changes then.
    """
    with warehouse.transaction(stamp.run_id) as tx:
        staged = tx.materialize(scored, "scored")
        users_without, items_shown = _audit(staged, users, tuple(stamp.horizon_hours))
        drifts = drift_since_last(warehouse, answers_of(staged, stamp), stamp)
        if any(drift.exceeds(max_drift) for drift in drifts):
            raise PublishError(_too_much_drift(drifts, max_drift))
        item_change = _item_change(warehouse, staged, stamp)
        rows = {
            SCORES.name: tx.write(SCORES, scores(staged, stamp, tx.number), partitions=stamp.score_partitions),
            RECOMMENDATIONS.name: tx.write(RECOMMENDATIONS, recommendations(staged, stamp, tx.number),
                                           partitions=[stamp.partition]),
        }
        return Published(rows, users_without, items_shown, drifts, item_change)


def answers_of(scored: DataFrame, stamp: Stamp) -> DataFrame:
    """A row per user and task: entity_id, num_events, task, horizon_hours, value."""
    said = [F.struct(F.lit(task).alias("task"), F.lit(float(hours)).alias("horizon_hours"),
                     F.get("answers", F.lit(place)).alias("value"))
            for place, (task, hours) in enumerate(stamp.horizon_hours.items())]
    nothing = F.array().cast("array<struct<task: string, horizon_hours: double, value: float>>")
    return scored.select(F.col("user_id").alias("entity_id"), "num_events",
                         F.inline(F.array(*said) if said else nothing))


def scores(scored: DataFrame, stamp: Stamp, run_number: int) -> DataFrame:
    """Rows of SCORES."""
    said = answers_of(scored, stamp).withColumns(stamp.columns(run_number))
    return SCORES.select(said.withColumn("entity", F.lit("visitor")))


def recommendations(scored: DataFrame, stamp: Stamp, run_number: int) -> DataFrame:
    """Rows of RECOMMENDATIONS."""
    shown = scored.select("user_id", F.inline("recommendations"))
    return RECOMMENDATIONS.select(shown.withColumns(stamp.columns(run_number)))


def _audit(staged: DataFrame, users: int, tasks: tuple[str, ...]) -> tuple[int, int]:
    """Users without a recommendation, and different items shown. Raises PublishError with all faults."""
    shown = F.col("recommendations")
    ranks, items = F.col("recommendations.rank"), F.col("recommendations.item_id")
    in_order = (F.size(shown) == 0) | (ranks == F.sequence(F.lit(1), F.greatest(F.size(shown), F.lit(1))))
    faults: dict[str, Column] = {
        "users without an id": F.col("user_id").isNull(),
        **{f"answers to {task} that are missing or not {_range(task)}": _is_no_answer(task, F.get("answers", F.lit(n)))
           for n, task in enumerate(tasks)},
        "lists of recommendations that are missing": shown.isNull(),
        "lists whose ranks are not 1, 2, 3 …": ~in_order,
        "lists with an item missing or shown twice":
            F.exists(items, lambda item: item.isNull()) | (F.size(F.array_distinct(items)) < F.size(items)),
        "lists with a score that is not a number": F.exists("recommendations.score", lambda s: s.isNull() | F.isnan(s)),
    }
    found = staged.agg(
        F.count(F.lit(1)).alias("rows"), F.count_distinct("user_id").alias("users"),
        F.count_if(F.size(shown) == 0).alias("without"),
        *[F.count_if(fault).alias(f"fault_{n}") for n, fault in enumerate(faults.values())],
    ).first()
    assert found is not None
    told = [f"{found[f'fault_{n}']:,} {what}" for n, what in enumerate(faults) if found[f"fault_{n}"]]
    if not (found["rows"] == found["users"] == users):
        came = f"{found['rows']:,} rows of {found['users']:,} users"
        told.insert(0, f"{users:,} users were to be scored; {came} came out")
    if not users:
        told.insert(0, "there is nobody to score; run ./spark-submit.sh sessionize and features on data with events")
    if told:
        raise PublishError("the scores failed their audit; nothing was published:\n"
                           + "\n".join(f"  - {fault}" for fault in told))
    return found["without"], staged.select(F.explode("recommendations.item_id")).distinct().count()


def _range(task: str) -> str:
    return "within 0 and 1" if TASK[task].kind == Kind.BINARY else "a number of at least 0"


def _is_no_answer(task: str, value: Column) -> Column:
    inside = value.between(0, 1) if TASK[task].kind == Kind.BINARY else (value >= 0) & (value < float("inf"))
    return value.isNull() | F.isnan(value) | ~inside


def drift_since_last(warehouse: Warehouse, answers: DataFrame, stamp: Stamp) -> list[Drift]:
    """Drift of every task against this model's newest published scores for its horizon, up to the same day.

    `answers` are those of `answers_of`; a task that was never published has none.
    """
    if not warehouse.exists(SCORES):
        return []
    published = warehouse.read(SCORES).where(_comparable(stamp))
    newest = {(row["task"], row["horizon_hours"]): row["day"] for row in
              published.groupBy("task", "horizon_hours").agg(F.max("as_of_date").alias("day")).collect()}  # a few tasks
    since = {task: newest[task, hours] for task, hours in stamp.horizon_hours.items() if (task, hours) in newest}
    if not since:
        return []
    compared = [(F.col("task") == task) & (F.col("as_of_date") == day)
                & (F.col("horizon_hours") == stamp.horizon_hours[task]) for task, day in since.items()]
    before = published.where(reduce(or_, compared))
    return measure_drift(before, answers.where(F.col("task").isin(*since)), since)


def _item_change(warehouse: Warehouse, staged: DataFrame, stamp: Stamp) -> ItemChange | None:
    """Against this model's newest published recommendations, up to the same day."""
    if not warehouse.exists(RECOMMENDATIONS):
        return None
    published = warehouse.read(RECOMMENDATIONS).where(_comparable(stamp) & (F.col("rank") == 1))
    newest = published.agg(F.max("as_of_date").alias("day")).first()
    if newest is None or newest["day"] is None:
        return None
    before = published.where(F.col("as_of_date") == newest["day"]).select("user_id", "item_id")
    now = staged.select("user_id", F.get("recommendations.item_id", F.lit(0)).alias("item_id")).dropna()
    change = measure_item_change(before, now, newest["day"])
    return change if change.users else None  # a bundle that does not answer items recommends none


def _comparable(stamp: Stamp) -> Column:
    day = stamp.as_of.date()
    return (F.col("model_name") == stamp.model_name) & F.col("as_of_date").between(
        day - timedelta(days=_COMPARED_DAYS), day)


def _too_much_drift(drifts: list[Drift], max_drift: float) -> str:
    told = [f"  {drift.task}: stability index {drift.psi:.2f} against the scores of {drift.since}; mean "
            f"{drift.mean_before:.4g} before, {drift.mean_now:.4g} now" for drift in drifts if drift.exceeds(max_drift)]
    return "\n".join([
        f"answers drifted by more than score.max_drift={max_drift:g} allows; nothing was published", *told,
        "  look at the new model's metrics and at the events that came in; "
        "if the change is right: --set score.max_drift=0"])
