from __future__ import annotations

import json
import math
import sqlite3
import time
from pathlib import Path

import pytest

from purchasepath.config import Tracking, load_config
from purchasepath.errors import UserError
from purchasepath.training import unregistered
from purchasepath.training.tracking import (
    MemoryTracker,
    MlflowTracker,
    Tracker,
    TrackingError,
    close_left_open,
    open_client,
    track,
)
from purchasepath.training.unregistered import Told, register_waiting
from tests.tiny_bundle import tiny_bundle


def tell(tracker: Tracker, bundle: Path) -> str:
    """What a training run tells its tracker."""
    tracker.log_params({"width": 8})
    tracker.log_json("config.json", {"model": {"width": 8}})
    tracker.log_curves([{"epoch": 1, "valid_loss": 2.5}, {"epoch": 2, "valid_loss": 2.0, "valid_recall_10": math.nan}])
    tracker.log_metrics({"best_valid_loss": 2.0, "undefined": math.nan})
    return tracker.log_bundle(bundle, "test-tracking", {"data": "simulated"})


def test_a_run_in_mlflow_has_parameters_curves_files_tags_and_a_registered_bundle(
    tmp_path: Path, mlflow_store: list[str]
) -> None:
    config = load_config([], [*mlflow_store, "tracking.experiment=of-the-test"])
    bundle = tiny_bundle(tmp_path)
    with track(config, name="a run", tags={"data": "simulated"}) as tracker:
        assert isinstance(tracker, MlflowTracker)
        reference = tell(tracker, bundle.directory)
    client = open_client(config.tracking)
    run = client.get_run(tracker.run_id)
    assert run.info.status == "FINISHED"
    assert client.get_experiment(run.info.experiment_id).name == "of-the-test"
    assert run.data.params == {"width": "8"}
    assert run.data.tags["data"] == "simulated"
    assert run.data.metrics == {"valid_loss": 2.0, "best_valid_loss": 2.0}
    assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "valid_loss")] == [(1, 2.5), (2, 2.0)]
    assert {f.path for f in client.list_artifacts(run.info.run_id)} == {"config.json", "bundle"}
    version = client.get_model_version("test-tracking", reference.rsplit("/", 1)[1])
    assert version.tags == {"data": "simulated"}
    assert version.run_id == run.info.run_id


def test_a_run_that_fails_is_marked_as_failed(mlflow_store: list[str]) -> None:
    config = load_config([], mlflow_store)
    with pytest.raises(ZeroDivisionError), track(config, name="fails", tags={}) as tracker:
        1 / 0  # noqa: B018
    assert open_client(config.tracking).get_run(tracker.run_id).info.status == "FAILED"


def test_a_store_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, and it is long enough to be read as one\n" * 20)
    with pytest.raises(UserError, match=r"tracking store sqlite:///.*mlflow\.db does not answer"):
        open_client(Tracking(uri=f"sqlite:///{tmp_path / 'mlflow.db'}"))


def test_a_server_that_is_not_there_is_told_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_RETRIES", "BACKOFF_FACTOR", "TIMEOUT"):
        monkeypatch.delenv(f"MLFLOW_HTTP_REQUEST_{name}", raising=False)
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    with pytest.raises(TrackingError, match=r"tracking store http://127\.0\.0\.1:9 does not answer"):
        open_client(Tracking(uri="http://127.0.0.1:9"))
    assert 0 < sum(waited) < 20


def test_a_store_that_goes_away_is_told_at_every_call_and_its_run_stays_open(
        mlflow_store: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.exceptions import MlflowException

    def fail(*arguments: object, **options: object) -> None:
        raise MlflowException("API request failed")

    config = load_config([], [*mlflow_store, "tracking.experiment=away"])
    with track(config, name="x", tags={}) as tracker:
        assert isinstance(tracker, MlflowTracker)
        for name in ("log_metric", "log_batch", "log_param", "log_artifact", "log_artifacts", "set_terminated"):
            monkeypatch.setattr(tracker.client, name, fail)
        for call in (lambda: tracker.log_metrics({"loss": 1.0}), lambda: tracker.log_params({"width": 8}),
                     lambda: tracker.log_json("x.json", {}), lambda: tracker.log_bundle(Path(), "name", {})):
            with pytest.raises(TrackingError, match=r"does not answer \(API request failed\)"):
                call()
    assert open_client(config.tracking).get_run(tracker.run_id).info.status == "RUNNING"


def test_the_store_is_one_sqlite_file_and_its_artifacts_lie_where_the_configuration_says(
    mlflow_store: list[str],
) -> None:
    config = load_config([], mlflow_store).tracking
    experiment = MlflowTracker(load_config([], mlflow_store), name="x", tags={})
    with sqlite3.connect(config.uri.removeprefix("sqlite:///")) as database:
        (location,) = database.execute(
            "select artifact_uri from runs where run_uuid = ?", (experiment.run_id,)
        ).fetchone()
    experiment.finish()
    assert location.startswith(Path(config.artifacts).resolve().as_uri())


def test_a_deleted_experiment_says_how_to_restore_it(mlflow_store: list[str]) -> None:
    config = load_config([], [*mlflow_store, "tracking.experiment=deleted"])
    MlflowTracker(config, name="one", tags={})
    client = open_client(config.tracking)
    client.delete_experiment(client.get_experiment_by_name("deleted").experiment_id)
    with pytest.raises(TrackingError, match=r"was deleted; restore it: mlflow experiments restore --experiment-id \d+"):
        MlflowTracker(config, name="two", tags={})


def test_runs_that_died_here_are_closed_and_others_are_left_alone(tmp_path: Path, mlflow_store: list[str]) -> None:
    here, there = (load_config([], [*mlflow_store, "tracking.experiment=left", f"paths.models={tmp_path / place}"])
                   for place in ("here", "there"))
    died, goes_on = (MlflowTracker(config, name="x", tags={}) for config in (here, there))
    close_left_open(here)
    statuses = [died.client.get_run(tracker.run_id).info.status for tracker in (died, goes_on)]
    assert statuses == ["KILLED", "RUNNING"]


def test_what_a_store_was_not_told_is_kept_and_told_when_it_answers(
        tmp_path: Path, mlflow_store: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config([], [*mlflow_store, "tracking.experiment=later", f"paths.models={tmp_path}"])
    bundle = tiny_bundle(tmp_path)
    told = Told(bundle.directory.name, "test-later", {"run_id": "job-1"},
                [{"epoch": 1, "valid_loss": 2.5}], {"best": 2.5})
    with track(config, name="job-1", tags=told.tags) as tracker:
        assert isinstance(tracker, MlflowTracker)
        with monkeypatch.context() as gone:
            gone.setattr(tracker.client, "log_batch", down)
            assert "not registered: the tracking store" in unregistered.tell(told, tracker, config)
    (line,) = register_waiting(config)
    assert "models:/test-later/1" in line
    assert register_waiting(config) == []


@pytest.mark.parametrize("content", [b'{"told": {"bun', b"[]", b"\xff", b"{}", b'{"told": {"x": 1}, "config": {}}', (
    b'{"told": {"bundle": "../b", "name": "n", "tags": {"run_id": "r"}, "curves": [], "metrics": {}}, "config": {}}')])
def test_a_waiting_run_that_cannot_be_read_stops_no_training(tmp_path: Path, content: bytes) -> None:
    waiting = tmp_path / ".unregistered" / "shop-1.json"
    waiting.parent.mkdir()
    waiting.write_bytes(content)
    (line,) = register_waiting(load_config([], [f"paths.models={tmp_path}"]))
    assert f"{waiting} cannot be read" in line
    assert waiting.exists()


def test_a_database_that_does_not_open_is_told_within_seconds(tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(TrackingError, match="unable to open"):
        open_client(load_config([], [f"tracking.uri=sqlite:///{tmp_path}"]).tracking)  # a directory
    assert time.monotonic() - begun < 20


def test_a_file_where_the_stores_directory_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file")
    with pytest.raises(TrackingError, match="File exists"):
        open_client(Tracking(uri=f"sqlite:///{tmp_path}/var/mlflow.db"))


def test_a_database_without_its_driver_names_the_package() -> None:
    with pytest.raises(TrackingError, match="needs a Python package"):
        open_client(load_config([], ["tracking.uri=mssql+pymssql://nobody@127.0.0.1/x"]).tracking)


def down(*arguments: object, **options: object) -> None:
    raise ConnectionError("connection refused")


def test_the_twin_in_memory_keeps_what_it_is_told(tmp_path: Path) -> None:
    tracker = MemoryTracker()
    assert tell(tracker, tmp_path) == "models:/test-tracking/1"
    tracker.finish()
    assert tracker.params == {"width": 8}
    assert json.dumps(tracker.files["config.json"]) == '{"model": {"width": 8}}'
    assert [curve["epoch"] for curve in tracker.curves] == [1, 2]
    assert tracker.bundles == [(tmp_path, "test-tracking")]
    assert tracker.status == "finished"
