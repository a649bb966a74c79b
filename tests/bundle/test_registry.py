from __future__ import annotations

from pathlib import Path

import pytest

from purchasepath.bundle.bundle import Bundle, point_latest
from purchasepath.bundle.registry import BundleMissingError, resolve
from purchasepath.config import load_config
from purchasepath.training.tracking import MlflowTracker
from tests.tiny_bundle import tiny_bundle


def test_latest_is_the_bundle_the_pointer_names(tmp_path: Path) -> None:
    config = load_config([], [f"paths.models={tmp_path}"])
    first, second = tiny_bundle(tmp_path), tiny_bundle(tmp_path, seed=1)
    point_latest(second)
    assert resolve("latest", config) == second.directory
    point_latest(first)
    assert resolve("latest", config) == first.directory


def test_without_a_bundle_the_message_says_train(tmp_path: Path) -> None:
    with pytest.raises(BundleMissingError, match=r"train one: \./spark-submit\.sh train"):
        resolve("latest", load_config([], [f"paths.models={tmp_path}"]))


def test_a_pointer_to_a_bundle_that_is_gone_names_it(tmp_path: Path) -> None:
    (tmp_path / "latest").write_text("shop-1234\n")
    with pytest.raises(BundleMissingError, match="names 'shop-1234', which is not there"):
        resolve("latest", load_config([], [f"paths.models={tmp_path}"]))


@pytest.mark.parametrize("content", [b"", b"..", b"\xff\x00", b"x" * 5000, b"shop\x00", b"shop\nshop"])
def test_a_damaged_pointer_leads_nowhere_and_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "latest").write_bytes(content)
    with pytest.raises(BundleMissingError, match=rf"{tmp_path}/latest (names|cannot be read)"):
        resolve("latest", load_config([], [f"paths.models={tmp_path}"]))


def test_a_directory_is_itself_and_a_missing_one_is_refused(tmp_path: Path) -> None:
    assert resolve(str(tmp_path), load_config()) == tmp_path
    with pytest.raises(BundleMissingError, match="no bundle at"):
        resolve(str(tmp_path / "nowhere"), load_config())


def test_a_malformed_reference_says_what_one_looks_like() -> None:
    with pytest.raises(BundleMissingError, match="models:/<name>/<version>"):
        resolve("models:/shop", load_config())


def test_a_registered_bundle_is_found_by_version_and_by_alias(tmp_path: Path, mlflow_store: list[str]) -> None:
    config = load_config([], mlflow_store)
    bundle = tiny_bundle(tmp_path)
    tracker = MlflowTracker(config, name="registers", tags={})
    reference = tracker.log_bundle(bundle.directory, "test-registry", {})
    tracker.client.set_registered_model_alias("test-registry", "champion", "1")
    assert reference == "models:/test-registry/1"
    for asked in (reference, "models:/test-registry@champion"):
        assert Bundle.load(resolve(asked, config)).version == bundle.version
    with pytest.raises(BundleMissingError, match="is not in the registry"):
        resolve("models:/test-registry/9", config)
