"""EXAMPLES -> a bundle (also in MLflow) and TRAINING_CURVES."""

from __future__ import annotations

from pathlib import Path

from purchasepath.bundle.bundle import WEIGHTS, Bundle, point_latest
from purchasepath.bundle.contract import starting_bundle
from purchasepath.bundle.trained import save_result
from purchasepath.config import Config
from purchasepath.datasets.manifest import Manifest
from purchasepath.job import Job, Summary, main
from purchasepath.storage.claims import claim
from purchasepath.tables.catalog import TRAINING_CURVES
from purchasepath.training.launch import run_on_ranks
from purchasepath.training.rank_main import Request, clear_workspace, read_result, train_on_rank
from purchasepath.training.start import keep_learnable, keep_start
from purchasepath.training.tracking import close_left_open, track
from purchasepath.training.unregistered import Told, describe_run, register_waiting, tell


def run(job: Job) -> Summary:
    manifest = Manifest.load(job.config.paths.dataset)
    manifest.verify(job.config.paths.dataset)
    config, left_out = keep_learnable(job.config, manifest)
    start = starting_bundle(config, manifest)
    request = Request.of(config, manifest, start.version if start else "")
    with claim(Path(config.paths.models), job.run_id, "paths.models"):
        close_left_open(config)
        return train(job, config, manifest, start, request, [*left_out, *register_waiting(config)])


def train(job: Job, config: Config, manifest: Manifest, start: Bundle | None, request: Request,
          notes: list[str]) -> Summary:
    """The training itself: what it leaves is published before MLflow is told."""
    tags = {"data": manifest.source, "dataset_version": manifest.version, "run_id": job.run_id}
    with track(config, name=job.run_id, tags=tags) as tracker:
        describe_run(tracker, config, tags)
        clear_workspace(Path(request.workspace), checkpoints=not config.training.resume)
        keep_start(Path(request.workspace), start.directory / WEIGHTS if start else None)
        run_on_ranks(train_on_rank, request.to_json(), spark=lambda: job.spark, config=config.training)
        result = read_result(Path(request.workspace))
        bundle = save_result(result, config, manifest, run_id=job.run_id, start=start)
        with job.warehouse.transaction(job.run_id) as tx:
            written = tx.write(TRAINING_CURVES, TRAINING_CURVES.frame(job.spark, result.curve_rows(bundle.version)))
        point_latest(bundle)
        clear_workspace(Path(request.workspace), checkpoints=True)
        told = Told(bundle.directory.name, bundle.name, {**tags, "bundle_version": bundle.version}, result.curves,
                    {f"best_{name}": value for name, value in result.best.items()} | result.calibration)
        registered = tell(told, tracker, config)
    begun = f", {config.training.tune} from bundle {start.name} {start.version}" if start else ""
    return Summary({"training_curves": written}, [
        f"trained on {manifest.source} data, {config.training.ranks} ranks{begun}", *result.lines(),
        f"bundle {bundle.directory}{registered}", f"MLflow run {tracker.run_id} in {config.tracking.uri}", *notes,
    ])


if __name__ == "__main__":
    main("train", run)
