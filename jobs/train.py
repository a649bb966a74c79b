"""EXAMPLES -> a bundle (also in MLflow) and TRAINING_CURVES."""

from __future__ import annotations

from pathlib import Path

from purchasepath.bundle.bundle import WEIGHTS, Bundle, point_latest
from purchasepath.bundle.contract import starting_bundle
from purchasepath.bundle.trained import save_result
from purchasepath.datasets.manifest import Manifest
from purchasepath.job import Job, Summary, main
from purchasepath.storage.claims import claim
from purchasepath.tables.catalog import TRAINING_CURVES
from purchasepath.training.launch import run_on_ranks
from purchasepath.training.start import keep_start
from purchasepath.training.task import Request, clear_workspace, read_result, train_on_rank
from purchasepath.training.tracking import close_left_open, track
from purchasepath.training.unregistered import Told, describe_run, register_waiting, tell


def run(job: Job) -> Summary:
    manifest = Manifest.load(job.config.paths.dataset)
    manifest.verify(job.config.paths.dataset)
    start = starting_bundle(job.config, manifest)
    request = Request.of(job.config, manifest, start.version if start else "")
    tags = {"data": manifest.source, "dataset_version": manifest.version, "run_id": job.run_id}
    with claim(Path(job.config.paths.models), job.run_id, "paths.models"):
        close_left_open(job.config)
        return train(job, manifest, start, request, tags, register_waiting(job.config))


def train(job: Job, manifest: Manifest, start: Bundle | None, request: Request, tags: dict[str, str],
          waited: list[str]) -> Summary:
    """The training itself: what it leaves is published before MLflow is told."""
    with track(job.config, name=job.run_id, tags=tags) as tracker:
        describe_run(tracker, job.config, tags)
        clear_workspace(Path(request.workspace), checkpoints=not job.config.training.resume)
        if start:
            keep_start(Path(request.workspace), start.directory / WEIGHTS)
        run_on_ranks(train_on_rank, request.to_json(), spark=lambda: job.spark, config=job.config.training)
        result = read_result(Path(request.workspace))
        bundle = save_result(result, job.config, manifest, run_id=job.run_id, start=start)
        with job.warehouse.transaction(job.run_id) as tx:
            written = tx.write(TRAINING_CURVES, TRAINING_CURVES.frame(job.spark, result.curve_rows(bundle.version)))
        point_latest(bundle)
        clear_workspace(Path(request.workspace), checkpoints=True)
        told = Told(bundle.directory.name, bundle.name, {**tags, "bundle_version": bundle.version}, result.curves,
                    {f"best_{name}": value for name, value in result.best.items()} | result.calibration)
        registered = tell(told, tracker, job.config)
    begun = f", {job.config.training.tune} from bundle {start.name} {start.version}" if start else ""
    lines = [
        f"trained on {manifest.source} data, {job.config.training.ranks} ranks{begun}", *result.lines(),
        f"bundle {bundle.directory}{registered}", f"MLflow run {tracker.run_id} in {job.config.tracking.uri}", *waited,
    ]
    return Summary(rows={"training_curves": written}, lines=lines, next="./spark-submit.sh evaluate")


if __name__ == "__main__":
    main("train", run)
