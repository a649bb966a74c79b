"""Everybody's purchase probability and best items at the newest as-of time -> SCORES and RECOMMENDATIONS."""

from __future__ import annotations

import time
from datetime import datetime

import pyspark.sql.functions as F
from pyspark.sql import DataFrame

from purchasepath.datasets.manifest import FIRST_ITEM
from purchasepath.datasets.sequences import scoring_examples
from purchasepath.errors import InputError
from purchasepath.job import Job, Summary, main
from purchasepath.scoring.fit import fitting_bundle, unanswered, vocabulary_frame
from purchasepath.scoring.publish import Stamp, publish
from purchasepath.scoring.udf import count_users, score_users
from purchasepath.tables.catalog import SESSIONS
from purchasepath.tables.features import USER_FEATURES
from purchasepath.times import from_us


def run(job: Job) -> Summary:
    """Score once, audit, publish both tables or none."""
    bundle = fitting_bundle(job.config, "item", "purchase")
    manifest = bundle.manifest
    sessions, features = job.warehouse.read(SESSIONS), job.warehouse.read(USER_FEATURES)
    as_of = newest_as_of(features)
    users, num_events = count_users(sessions, as_of)
    clock = time.perf_counter()
    examples = scoring_examples(sessions, features, vocabulary_frame(job.spark, bundle), manifest, as_of)
    published = publish(
        job.warehouse, score_users(examples, bundle, job.config.score),
        Stamp(bundle.name, bundle.version, manifest.boundaries.horizon_hours, as_of, job.run_id),
        users=users, max_drift=job.config.score.max_drift, knows_buyers="purchase" in bundle.model_config.predicts,
    )
    seconds = time.perf_counter() - clock
    return Summary(
        rows=published.rows,
        lines=[
            f"as of {as_of:%Y-%m-%d %H:%M} UTC by bundle {bundle.name} {bundle.version}; data: {manifest.source}",
            f"{users:,} users, {users / seconds:,.0f} per second; {published.users_without:,} without a recommendation",
            f"{published.items_shown:,} of {manifest.num_items - FIRST_ITEM:,} items are recommended to somebody",
            str(published.drift or "no earlier scores of this model and horizon: no drift"), *unanswered(bundle),
        ],
        events=num_events,
    )


def newest_as_of(features: DataFrame) -> datetime:
    """The as-of time to score at."""
    newest = features.agg(F.max(F.unix_micros("as_of")).alias("us")).first()
    if newest is None or newest["us"] is None:
        raise InputError("user_features has no rows; run ./spark-submit.sh features on data with events first")
    return from_us(newest["us"])


if __name__ == "__main__":
    main("score", run)
