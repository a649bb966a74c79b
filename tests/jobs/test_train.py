from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.train import run
from purchasepath.bundle.bundle import Bundle
from purchasepath.bundle.registry import resolve
from purchasepath.config import load_config
from purchasepath.datasets.asked import NothingToLearnError
from purchasepath.datasets.manifest import Asked
from purchasepath.errors import BundleMismatchError, TooFewRowGroupsError, UserError
from purchasepath.job import Job
from purchasepath.tables.catalog import TRAINING_CURVES
from purchasepath.training.rank_main import Request, train_on_rank
from purchasepath.training.ranks import SoloRanks
from purchasepath.training.tracking import open_client
from tests.tiny_dataset import write_dataset


def make_job(spark: Any, directory: Path, store: list[str], *more: str) -> Job:
    paths = [f"paths.{name}={directory / name}" for name in ("dataset", "models", "warehouse", "runs")]
    small = ["model.width=8", "model.layers=1", "training.ranks=1", "training.epochs=2", "training.batch_size=32"]
    return Job("train", load_config([], [*store, *paths, *small, "tracking.experiment=job", *more]), spark=spark)


def test_training_leaves_a_bundle_its_run_and_its_curves(
    spark: Any, tmp_path: Path, mlflow_store: list[str]
) -> None:
    job = make_job(spark, tmp_path, mlflow_store)
    manifest = write_dataset(tmp_path / "dataset")
    summary = run(job)

    bundle = Bundle.load(resolve("latest", job.config))
    assert bundle.manifest.vocabulary_sha == manifest.vocabulary_sha
    curves = job.warehouse.read(TRAINING_CURVES).collect()
    assert summary.rows == {"training_curves": len(curves)}
    assert {row.epoch for row in curves} == {1, 2}
    assert {row.model_version for row in curves} == {bundle.version}
    best = min(row.value for row in curves if row.metric == "valid_loss")
    assert bundle.metrics["valid_loss"] == pytest.approx(best)

    client = open_client(job.config.tracking)
    (found,) = client.search_runs([client.get_experiment_by_name("job").experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.tags["data"] == "simulated"
    assert found.data.params["width"] == "8"
    assert found.data.metrics["best_valid_loss"] == pytest.approx(best)
    reference = next(line for line in summary.lines if "models:/" in line).split("(")[1].rstrip(")")
    assert Bundle.load(resolve(reference, job.config)).version == bundle.version
    assert not list((tmp_path / "models" / ".training").iterdir())  # nothing is left to resume


@pytest.mark.parametrize("resume", [True, False])
def test_a_run_goes_on_from_a_checkpoint_unless_told_not_to(
    spark: Any, tmp_path: Path, mlflow_store: list[str], capsys: pytest.CaptureFixture[str], resume: bool
) -> None:
    job = make_job(spark, tmp_path, mlflow_store, "training.epochs=1", f"training.resume={str(resume).lower()}")
    train_on_rank(SoloRanks(), Request.of(job.config, write_dataset(tmp_path / "dataset")).to_json())
    run(job)
    assert ("resumed at epoch 2" in capsys.readouterr().out) == resume


def test_a_head_without_a_yes_in_the_training_span_is_not_trained(
    spark: Any, tmp_path: Path, mlflow_store: list[str]
) -> None:
    asked = {"train": {"item": Asked(500), "purchase": Asked(200, 0), "churn": Asked(200, 50)}}
    replace(write_dataset(tmp_path / "dataset"), asked=asked).save(tmp_path / "dataset")
    job = make_job(spark, tmp_path, mlflow_store, "model.tasks=[item,purchase,churn]", "training.epochs=1")
    lines = run(job).lines
    bundle = Bundle.load(resolve("latest", job.config))
    assert bundle.model_config.tasks == ("item", "churn")
    assert list(bundle.build().heads) == ["churn"]
    assert "purchase is left out of the model: the answer is no at all of its 200 places in the training span" in lines
    assert not any("purchase" in metric for metric in bundle.metrics)
    with pytest.raises(NothingToLearnError, match=r"--set model\.tasks=\[item,churn\]"):
        run(make_job(spark, tmp_path, mlflow_store, "model.tasks=[purchase]"))


def test_pre_training_then_fine_tuning(spark: Any, tmp_path: Path, mlflow_store: list[str]) -> None:
    manifest = write_dataset(tmp_path / "dataset")
    run(make_job(spark, tmp_path, mlflow_store, "model.tasks=[item]", "tracking.registered_model=first"))
    second = make_job(spark, tmp_path, mlflow_store, "training.start_from=latest", "training.tune=lora",
                      "model.tasks=[item,purchase,session,churn,next_type]", "training.epochs=1")
    first = Bundle.load(resolve("latest", second.config))
    assert first.name == "first"
    lines = run(second).lines
    assert f"lora from bundle first {first.version}" in lines[0]
    assert [line.split(" ")[0] for line in lines[2:5]] == ["purchase", "session", "churn"]

    tuned = Bundle.load(resolve("latest", second.config))
    assert tuned.description["training"]["start"] == f"first-{first.version}"
    before, after = first.build().state_dict(), tuned.build().state_dict()
    assert before.keys() < after.keys()  # the same weights and heads beside them: nothing of the adapters is left
    assert torch.equal(before["encoder.embedding.item.weight"], after["encoder.embedding.item.weight"])

    narrow = make_job(spark, tmp_path, mlflow_store, "training.start_from=latest", "model.width=16", "model.heads=1")
    with pytest.raises(BundleMismatchError, match=r"(?s)model\.width: expected 16, the bundle has 8.*"
                                                  r"--set model\.width=8 --set model\.heads=2"):
        run(narrow)
    replace(manifest, vocabulary_sha="w" * 64).save(tmp_path / "dataset")
    with pytest.raises(BundleMismatchError, match="vocabulary: expected"):
        run(second)


def test_a_tracking_store_that_goes_away_while_it_trains_costs_no_bundle(
    spark: Any, tmp_path: Path, mlflow_store: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object, **__: object) -> None:
        raise ConnectionError("connection refused")

    job = make_job(spark, tmp_path, mlflow_store, "training.epochs=1")
    write_dataset(tmp_path / "dataset")
    for name in ("log_batch", "set_terminated"):  # what follows the training
        monkeypatch.setattr(f"mlflow.MlflowClient.{name}", down)
    lines = run(job).lines
    assert any("whole and in use, but not registered" in line and "connection refused" in line for line in lines)
    bundle = Bundle.load(resolve("latest", job.config))
    assert {row.model_version for row in job.warehouse.read(TRAINING_CURVES).collect()} == {bundle.version}


def test_without_a_dataset_the_message_says_which_stage_to_run(
    spark: Any, tmp_path: Path, mlflow_store: list[str]
) -> None:
    with pytest.raises(UserError, match=r"\./spark-submit\.sh dataset"):
        run(make_job(spark, tmp_path, mlflow_store))


def test_too_few_row_groups_leave_everything_as_it_was(spark: Any, tmp_path: Path, mlflow_store: list[str]) -> None:
    write_dataset(tmp_path / "dataset", train=32)
    with pytest.raises(TooFewRowGroupsError):
        run(make_job(spark, tmp_path, mlflow_store, "training.ranks=2"))
    assert not (tmp_path / "models").exists()
