"""The bundle and its baselines on the test split -> METRICS and CALIBRATION."""

from __future__ import annotations

from purchasepath.bundle.bundle import Bundle
from purchasepath.bundle.contract import require_same_dataset
from purchasepath.datasets.manifest import Manifest
from purchasepath.errors import UserError
from purchasepath.job import Job, Summary, main
from purchasepath.scoring.compatibility import load_compatible_bundle
from purchasepath.scoring.evaluation import evaluate
from purchasepath.scoring.leaderboard import format_leaderboard
from purchasepath.scoring.metric_rows import calibration_rows, metric_rows, tracked_metrics, without_intervals
from purchasepath.tables.catalog import CALIBRATION, METRICS, SESSIONS
from purchasepath.training.tracking import add_metrics
from purchasepath.training.unregistered import register_waiting


def run(job: Job) -> Summary:
    """Answer, count, measure; both tables or none."""
    bundle = load_compatible_bundle(job.config)
    manifest = Manifest.load(job.config.paths.dataset)
    manifest.verify(job.config.paths.dataset)
    require_same_dataset(bundle, manifest)
    sessions = job.warehouse.read(SESSIONS)
    with job.warehouse.transaction(job.run_id) as tx:
        answers = evaluate(sessions, bundle, manifest, job.config, keep=tx.materialize)
        rows = metric_rows(answers, bundle, manifest, job.config.evaluate, job.run_id)
        metrics = METRICS.frame(job.spark, rows)
        written = {
            "metrics": tx.write(METRICS, metrics.coalesce(1)),
            "calibration": tx.write(CALIBRATION, CALIBRATION.frame(job.spark, calibration_rows(answers)).coalesce(1)),
        }
    ours = answers["purchasepath"]
    asked = {"item": ours.targets} | {task: counts.points for task, counts in (ours.binary | ours.amounts).items()}
    lines = [
        f"bundle {bundle.name} {bundle.version} asked in the test span: "
        + ", ".join(f"{task} {places:,}" for task, places in asked.items()) + f"; data: {manifest.source}",
        *_track(job, bundle, tracked_metrics(rows)),
        *without_intervals(rows),
        *format_leaderboard(metrics).splitlines(),
    ]
    return Summary(rows=written, lines=lines)


def _track(job: Job, bundle: Bundle, values: dict[str, float]) -> list[str]:
    """Adds the metrics to the bundle's own training run; the tables stand whether or not that works."""
    trained_by = bundle.description.get("training", {}).get("run_id")
    try:
        waited = register_waiting(job.config)
        run_id = add_metrics(job.config.tracking, trained_by, values) if trained_by else None
    except UserError as failure:
        return [f"not logged to MLflow: {failure}"]
    return [*waited, f"logged to MLflow run {run_id}"] if run_id else waited


if __name__ == "__main__":
    main("evaluate", run)
