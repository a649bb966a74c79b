"""SESSIONS and USER_FEATURES to EXAMPLES, VOCABULARY, SIDE_FEATURES and the manifest: what training reads."""

from __future__ import annotations

from pathlib import Path

from purchasepath.datasets.build import build_dataset
from purchasepath.job import Job, Summary, main
from purchasepath.storage.claims import claim
from purchasepath.tables.catalog import EVENTS, SESSIONS
from purchasepath.tables.features import USER_FEATURES
from purchasepath.tables.partials import USER_PARTIALS


def run(job: Job) -> Summary:
    """Write the dataset and switch to it."""
    with claim(Path(job.config.paths.dataset), job.run_id, "paths.dataset"):
        report = build_dataset(
            job.warehouse.read(SESSIONS), job.warehouse.read(USER_FEATURES), job.warehouse.read(USER_PARTIALS),
            job.config, version=job.run_id,
            events=job.warehouse.read(EVENTS) if job.config.dataset.side_features else None,
        )
    return Summary(rows=report.rows, lines=report.lines, events=report.events)


if __name__ == "__main__":
    main("dataset", run)
