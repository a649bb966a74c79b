"""Runs as other people see them: parameters, metrics per epoch, files, and a registered model. MLflow's room.

`Tracker` is what the jobs know; `MlflowTracker` writes to MLflow, `MemoryTracker` keeps everything for tests.
Only the driver talks to MLflow: opening a store may take it ten seconds of migrations.
"""

from __future__ import annotations

import json
import logging
import math
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from purchasepath.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from purchasepath.config import Config, Tracking


_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
             "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
"""Of a first question: told within 20 seconds. MLflow's own patience with a server that is down is four minutes."""
_WORKPLACE = "purchasepath.workplace"
"""Tag: host and models directory of a run. One training at a time has them."""


class TrackingError(UserError):
    """The tracking store does not do what it is asked."""


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

    def finish(self, status: str = "FINISHED") -> None: ...


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

    def finish(self, status: str = "FINISHED") -> None:
        self.status = status.lower()


class MlflowTracker:
    """A run in the MLflow store of the configuration; the experiment is made where it is missing.

    Every method raises TrackingError where the store fails.
    """

    def __init__(self, config: Config, *, name: str, tags: Mapping[str, str]) -> None:
        self.config = config.tracking
        self.client = open_client(config.tracking)
        with _answering(self.config):
            experiment = _experiment_id(self.client, config.tracking)
            tags = {**tags, _WORKPLACE: _workplace(config)}
            self.run_id: str = self.client.create_run(experiment, run_name=name, tags=tags).info.run_id

    def log_params(self, params: Mapping[str, Any]) -> None:
        with _answering(self.config):
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
        with _answering(self.config):
            _require_answer(self.client)  # the training took its time: is the server still there?
            self.client.log_batch(self.run_id, metrics=points)

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        with _answering(self.config):
            for key, value in metrics.items():
                if math.isfinite(value):
                    self.client.log_metric(self.run_id, key, value)

    def log_json(self, name: str, content: Any) -> None:
        with _answering(self.config), tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / name
            file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
            self.client.log_artifact(self.run_id, str(file))

    def log_bundle(self, directory: Path, name: str, tags: Mapping[str, str]) -> str:
        with _answering(self.config):
            return self._register(directory, name, tags)

    def _register(self, directory: Path, name: str, tags: Mapping[str, str]) -> str:
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

    def finish(self, status: str = "FINISHED") -> None:
        with _answering(self.config):
            _require_answer(self.client)
            self.client.set_terminated(self.run_id, status)


@contextmanager
def track(config: Config, *, name: str, tags: Mapping[str, str]) -> Iterator[Tracker]:
    """An MLflow run that ends as FINISHED, as FAILED if the block raises, or as KILLED where it is interrupted.

    Where the store is gone by then the run stays open, and the next one from here closes it.
    """
    tracker = MlflowTracker(config, name=name, tags=tags)
    try:
        yield tracker
    except BaseException as stopped:
        with suppress(TrackingError):
            tracker.finish("FAILED" if isinstance(stopped, Exception) else "KILLED")
        raise
    try:
        tracker.finish()
    except TrackingError as failure:
        logging.getLogger(__name__).warning("the MLflow run stays open until the next training: %s", failure)


@contextmanager
def _answering(config: Tracking) -> Iterator[None]:
    """Failures of the store within the block as TrackingError."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except ImportError as driver:  # of a database
        raise TrackingError(f"the tracking store {config.uri} needs a Python package that is not here ({driver}); "
                            f"install it into the environment, or use a local store: "
                            f"--set tracking.uri=sqlite:///var/mlflow.db") from None
    except (MlflowException, SQLAlchemyError, OSError) as failure:
        reason = next(iter(str(failure).splitlines()), type(failure).__name__)
        raise TrackingError(
            f"the tracking store {config.uri} does not answer ({reason}); start it, "
            f"or use a local one: --set tracking.uri=sqlite:///var/mlflow.db"
        ) from None


def _require_answer(client: MlflowClient) -> None:
    """One small question, asked with little patience."""
    before = {name: os.environ.get(name) for name in _PATIENCE}
    os.environ.update({name: os.environ.get(name, value) for name, value in _PATIENCE.items()})
    try:
        client.search_experiments(max_results=1)
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def open_client(config: Tracking) -> MlflowClient:
    """A client of the store; a local store's directory is made. Raises TrackingError where it does not answer."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    from mlflow import MlflowClient

    scheme, separator, path = config.uri.partition(":///")
    with _answering(config):
        if scheme == "sqlite" and separator:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        _lose_patience_with_databases()
        client = MlflowClient(tracking_uri=config.uri, registry_uri=config.uri)
        _require_answer(client)
    return client


def _lose_patience_with_databases() -> None:
    """MLflow asks a database ten times, for 102 seconds, and has no setting for it: six times take six."""
    from mlflow.store.db import utils

    if hasattr(utils, "MAX_RETRY_COUNT"):
        utils.MAX_RETRY_COUNT = min(utils.MAX_RETRY_COUNT, 6)


def _experiment_id(client: MlflowClient, config: Tracking) -> str:
    found = client.get_experiment_by_name(config.experiment)
    if found is not None and found.lifecycle_stage == "deleted":
        raise TrackingError(
            f"the experiment {config.experiment} of {config.uri} was deleted; restore it: mlflow experiments restore "
            f"--experiment-id {found.experiment_id} (with MLFLOW_TRACKING_URI={config.uri}), or give another name: "
            f"--set tracking.experiment=<name>")
    if found is not None:
        return found.experiment_id
    local = config.uri.startswith(("sqlite:", "file:")) or "://" not in config.uri
    location = Path(config.artifacts).resolve().as_uri() if local else None
    return client.create_experiment(config.experiment, artifact_location=location)


def close_left_open(config: Config) -> None:
    """Marks runs from this host and models directory that are still open as KILLED. Whoever asks holds the claim on
    the directory, so nobody works on them any more."""
    client = open_client(config.tracking)
    with _answering(config.tracking):
        experiment = client.get_experiment_by_name(config.tracking.experiment)
        found = [] if experiment is None else client.search_runs(
            [experiment.experiment_id], "attributes.status = 'RUNNING'", max_results=1000)
        for run in found:
            if run.data.tags.get(_WORKPLACE) == _workplace(config):
                client.set_terminated(run.info.run_id, "KILLED")


def _workplace(config: Config) -> str:
    return f"{socket.gethostname()}:{Path(config.paths.models).resolve()}"


def add_metrics(config: Tracking, job_run_id: str, metrics: Mapping[str, float]) -> str | None:
    """Adds metrics to the training run that is tagged with this job's run id; its MLflow id, None if there is none."""
    client = open_client(config)
    with _answering(config):
        experiment = client.get_experiment_by_name(config.experiment)
        if experiment is None or experiment.lifecycle_stage == "deleted":
            return None
        runs = client.search_runs([experiment.experiment_id], f"tags.run_id = '{job_run_id}'", max_results=1)
        for run in runs:
            for name, value in metrics.items():
                client.log_metric(run.info.run_id, name, value)
    return runs[0].info.run_id if runs else None
