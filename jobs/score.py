"""Everybody's answers and best items at an as-of time, by default the newest -> SCORES and RECOMMENDATIONS."""

from __future__ import annotations

import time

from purchasepath.datasets.manifest import FIRST_ITEM
from purchasepath.datasets.sequences import scoring_examples
from purchasepath.features.as_of import chosen_as_of
from purchasepath.job import Job, Summary, main
from purchasepath.scoring.compatibility import load_compatible_bundle, unanswered, vocabulary_frame
from purchasepath.scoring.publish import Stamp, publish
from purchasepath.scoring.udf import count_users, score_users, scored_tasks
from purchasepath.tables.catalog import SESSIONS
from purchasepath.tables.features import USER_FEATURES
from purchasepath.tables.tasks import SCORED_TASKS


def run(job: Job) -> Summary:
    """Score once, audit, publish both tables or none."""
    bundle = load_compatible_bundle(job.config, SCORED_TASKS)
    manifest = bundle.manifest
    sessions, features = job.warehouse.read(SESSIONS), job.warehouse.read(USER_FEATURES)
    as_of = chosen_as_of(features, job.config.score.as_of)
    users, num_events = count_users(sessions, as_of)
    clock = time.perf_counter()
    examples = scoring_examples(sessions, features, vocabulary_frame(job.spark, bundle), manifest, as_of)
    published = publish(
        job.warehouse, score_users(examples, bundle, job.config.score),
        Stamp(bundle.name, bundle.version, {task: manifest.horizon_hours[task] for task in scored_tasks(bundle)},
              as_of, job.run_id),
        users=users, max_drift=job.config.score.max_drift,
    )
    seconds = time.perf_counter() - clock
    return Summary(
        rows=published.rows,
        lines=[
            f"as of {as_of:%Y-%m-%d %H:%M} UTC by bundle {bundle.name} {bundle.version}; data: {manifest.source}",
            f"{users:,} users, {users / seconds:,.0f} per second; {published.users_without:,} without a recommendation",
            f"{published.items_shown:,} of {manifest.num_items - FIRST_ITEM:,} items are recommended to somebody",
            "; ".join(map(str, published.drifts)) or "no earlier scores of this model and horizons: no drift",
            *([str(published.item_change)] if published.item_change else []), *unanswered(bundle),
        ],
        events=num_events,
    )


if __name__ == "__main__":
    main("score", run)
