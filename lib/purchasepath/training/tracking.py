"""Runs as other people see them: parameters, metrics per epoch, files, and a registered model. MLflow's room.

`Tracker` is what the jobs know; `MlflowTracker` writes to MLflow, `MemoryTracker` keeps everything for tests.
Only the driver talks to MLflow: opening a store may take it ten seconds of migrations.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from purchasepath.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from purchasepath.config import Config, Tracking


class Tracker(Protocol):
    """One run. `finish` closes it; every other method may be called before that, in any order."""

    run_id: str

    def log_params(self, params: Mapping[str, Any]) -> None: ...

    def log_curves(self, curves: Sequence[Mapping[str, float]]) -> None:
        """Metrics of each epoch; `epoch` in each mapping is the step."""
        ...

    def log_metrics(self, metrics: Mapping[str, float]) -> None: ...

    def log_json(self, name: str, content: Any) -> None:
        """`content` as an artifact file."""
        ...

    def log_bundle(self, directory: Path, name: str, tags: Mapping[str, str]) -> str:
        """Keeps the bundle as artifact `bundle` and registers it; returns its reference, models:/<name>/<version>."""
        ...

    def finish(self, *, failed: bool = False) -> None: ...


@dataclass
class MemoryTracker:
    """Keeps what it is told."""

    run_id: str = "memory"
    params: dict[str, Any] = field(default_factory=dict)
    curves: list[dict[str, float]] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    files: dict[str, Any] = field(default_factory=dict)
    bundles: list[tuple[Path, str]] = field(default_factory=list)
    status: str = "running"

    def log_params(self, params: Mapping[str, Any]) -> None:
        self.params.update(params)

    def log_curves(self, curves: Sequence[Mapping[str, float]]) -> None:
        self.curves.extend(dict(curve) for curve in curves)

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        self.metrics.update(metrics)

    def log_json(self, name: str, content: Any) -> None:
        self.files[name] = content

    def log_bundle(self, directory: Path, name: str, tags: Mapping[str, str]) -> str:
        self.bundles.append((directory, name))
        return f"models:/{name}/{len(self.bundles)}"

    def finish(self, *, failed: bool = False) -> None:
        self.status = "failed" if failed else "finished"


class MlflowTracker:
    """A run in the MLflow store of the configuration; the experiment is made where it is missing."""

    def __init__(self, config: Config, *, name: str, tags: Mapping[str, str]) -> None:
        self.client = open_client(config.tracking)
        experiment = _experiment_id(self.client, config.tracking)
        self.run_id: str = self.client.create_run(experiment, run_name=name, tags=dict(tags)).info.run_id

    def log_params(self, params: Mapping[str, Any]) -> None:
        for key, value in params.items():
            self.client.log_param(self.run_id, key, value)

    def log_curves(self, curves: Sequence[Mapping[str, float]]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [
            Metric(key, value, now, int(curve["epoch"]))
            for curve in curves
            for key, value in curve.items()
            if key != "epoch" and math.isfinite(value)
        ]
        self.client.log_batch(self.run_id, metrics=points)

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        for key, value in metrics.items():
            if math.isfinite(value):
                self.client.log_metric(self.run_id, key, value)

    def log_json(self, name: str, content: Any) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / name
            file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
            self.client.log_artifact(self.run_id, str(file))

    def log_bundle(self, directory: Path, name: str, tags: Mapping[str, str]) -> str:
        from mlflow.exceptions import MlflowException

        self.client.log_artifacts(self.run_id, str(directory), "bundle")
        try:
            self.client.create_registered_model(name)
        except MlflowException as failure:
            if failure.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"{self.client.get_run(self.run_id).info.artifact_uri}/bundle"
        version = self.client.create_model_version(name, source, run_id=self.run_id, tags=dict(tags)).version
        return f"models:/{name}/{version}"

    def finish(self, *, failed: bool = False) -> None:
        self.client.set_terminated(self.run_id, "FAILED" if failed else "FINISHED")


@contextmanager
def track(config: Config, *, name: str, tags: Mapping[str, str]) -> Iterator[Tracker]:
    """An MLflow run that ends as FINISHED, or as FAILED if the block raises."""
    tracker = MlflowTracker(config, name=name, tags=tags)
    try:
        yield tracker
    except BaseException:
        tracker.finish(failed=True)
        raise
    tracker.finish()


def open_client(config: Tracking) -> MlflowClient:
    """A client of the store; a local store's directory is made. Raises UserError where the store does not answer."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    scheme, separator, path = config.uri.partition(":///")
    if scheme == "sqlite" and separator:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    try:
        client = MlflowClient(tracking_uri=config.uri, registry_uri=config.uri)
        client.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError, OSError) as failure:
        raise UserError(
            f"the tracking store {config.uri} does not answer ({str(failure).splitlines()[0]}); start it, "
            f"or use a local one: --set tracking.uri=sqlite:///var/mlflow.db"
        ) from None
    return client


def _experiment_id(client: MlflowClient, config: Tracking) -> str:
    found = client.get_experiment_by_name(config.experiment)
    if found is not None:
        return found.experiment_id
    local = config.uri.startswith(("sqlite:", "file:")) or "://" not in config.uri
    location = Path(config.artifacts).resolve().as_uri() if local else None
    return client.create_experiment(config.experiment, artifact_location=location)


def add_metrics(config: Tracking, job_run_id: str, metrics: Mapping[str, float]) -> str | None:
    """Adds metrics to the training run that is tagged with this job's run id; its MLflow id, None if there is none."""
    client = open_client(config)
    experiment = client.get_experiment_by_name(config.experiment)
    if experiment is None:
        return None
    runs = client.search_runs([experiment.experiment_id], f"tags.run_id = '{job_run_id}'", max_results=1)
    for run in runs:
        for name, value in metrics.items():
            client.log_metric(run.info.run_id, name, value)
    return runs[0].info.run_id if runs else None
