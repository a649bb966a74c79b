"""Scored users become SCORES and RECOMMENDATIONS: stage, audit, switch.

Everything is computed once into the staging area of a transaction and audited there. Only what passes becomes
visible, both tables at once, in place of exactly the partition (as_of_date, model_name); a rerun replaces it by
the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame

from purchasepath.errors import PublishError
from purchasepath.scoring.drift import Drift, measure_drift
from purchasepath.storage.warehouse import Warehouse
from purchasepath.tables.catalog import RECOMMENDATIONS, SCORES

_COMPARED_DAYS = 35
"""Published scores older than this, relative to the new ones, say nothing about drift."""


@dataclass(frozen=True)
class Stamp:
    """What every published row carries: which model answered, for when, in which run."""

    model_name: str
    model_version: str
    horizon_hours: float
    as_of: datetime
    run_id: str

    @property
    def partition(self) -> dict[str, object]:
        return {"as_of_date": self.as_of.date(), "model_name": self.model_name}

    def columns(self, run_number: int) -> dict[str, Column]:
        return {
            "as_of": F.lit(self.as_of), "model_version": F.lit(self.model_version), "run_id": F.lit(self.run_id),
            "run_number": F.lit(run_number).cast("bigint"), "as_of_date": F.lit(self.as_of.date()),
            "model_name": F.lit(self.model_name),
        }


@dataclass(frozen=True)
class Published:
    """What was published: rows per table, users without any recommendation, different items shown, drift."""

    rows: dict[str, int]
    users_without: int
    items_shown: int
    drift: Drift | None


def publish(
    warehouse: Warehouse, scored: DataFrame, stamp: Stamp, *, users: int, max_drift: float, knows_buyers: bool = True
) -> Published:
    """Publish the frame of `udf.score_users`, which is computed here and only once.

    `users` is how many rows it must have. Without `knows_buyers` the model gives no purchase probabilities: SCORES gets
    no rows, and no drift is measured. Raises PublishError with every fault found; nothing changes then.
    """
    with warehouse.transaction(stamp.run_id) as tx:
        staged = tx.materialize(scored, "scored")
        users_without, items_shown = _audit(staged, users, knows_buyers)
        drift = drift_since_last(warehouse, staged, stamp) if knows_buyers else None
        if drift is not None and drift.exceeds(max_drift):
            raise PublishError(_too_much_drift(drift, max_drift))
        rows = {
            SCORES.name: tx.write(SCORES, scores(staged, stamp, tx.number), partitions=[stamp.partition]),
            RECOMMENDATIONS.name: tx.write(RECOMMENDATIONS, recommendations(staged, stamp, tx.number),
                                           partitions=[stamp.partition]),
        }
        return Published(rows, users_without, items_shown, drift)


def scores(scored: DataFrame, stamp: Stamp, run_number: int) -> DataFrame:
    """Rows of SCORES: of users with a probability."""
    said = scored.where(F.col("purchase_probability").isNotNull())
    horizon = {"horizon_hours": F.lit(float(stamp.horizon_hours))}
    return SCORES.select(said.withColumns(stamp.columns(run_number) | horizon))


def recommendations(scored: DataFrame, stamp: Stamp, run_number: int) -> DataFrame:
    """Rows of RECOMMENDATIONS."""
    shown = scored.select("user_id", F.inline("recommendations"))
    return RECOMMENDATIONS.select(shown.withColumns(stamp.columns(run_number)))


def _audit(staged: DataFrame, users: int, knows_buyers: bool) -> tuple[int, int]:
    """Users without a recommendation, and different items shown. Raises PublishError with all faults."""
    probability, shown = F.col("purchase_probability"), F.col("recommendations")
    ranks, items = F.col("recommendations.rank"), F.col("recommendations.item_id")
    in_order = (F.size(shown) == 0) | (ranks == F.sequence(F.lit(1), F.greatest(F.size(shown), F.lit(1))))
    faults: dict[str, Column] = {
        "users without an id": F.col("user_id").isNull(),
        "purchase probabilities that are missing or not within 0 and 1":
            probability.isNull() | F.isnan(probability) | ~probability.between(0, 1)
            if knows_buyers else probability.isNotNull(),
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


def drift_since_last(warehouse: Warehouse, staged: DataFrame, stamp: Stamp) -> Drift | None:
    """Drift against this model's newest published scores for this horizon, up to the same day; None without any."""
    if not (warehouse.exists(SCORES) and warehouse.exists(RECOMMENDATIONS)):
        return None
    day = stamp.as_of.date()
    comparable = (
        (F.col("model_name") == stamp.model_name)
        & F.col("as_of_date").between(day - timedelta(days=_COMPARED_DAYS), day)
        & (F.col("horizon_hours") == stamp.horizon_hours)
    )
    published = warehouse.read(SCORES).where(comparable)
    newest = published.agg(F.max("as_of_date").alias("day")).first()
    if newest is None or newest["day"] is None:
        return None
    best = warehouse.read(RECOMMENDATIONS).where(
        (F.col("model_name") == stamp.model_name) & (F.col("as_of_date") == newest["day"]) & (F.col("rank") == 1)
    )
    before = published.where(F.col("as_of_date") == newest["day"])
    best_before = before.select("user_id").join(best.select("user_id", "item_id"), on="user_id", how="left")
    return measure_drift(
        before, best_before,
        staged, staged.select("user_id", F.get("recommendations.item_id", F.lit(0)).alias("item_id")), newest["day"],
    )


def _too_much_drift(drift: Drift, max_drift: float) -> str:
    return (
        f"purchase probabilities drifted: stability index {drift.psi:.2f} against the scores of {drift.since}, "
        f"score.max_drift allows {max_drift:g}; nothing was published\n"
        f"  mean probability {drift.mean_before:.4f} before, {drift.mean_now:.4f} now; "
        f"{drift.changed_top:.0%} of {drift.common_users:,} users would see another first item\n"
        f"  look at the new model's metrics and at the events that came in; "
        f"if the change is right: --set score.max_drift=0"
    )
