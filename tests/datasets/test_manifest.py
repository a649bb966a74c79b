"""The manifest as a value and as a file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from purchasepath.datasets.manifest import (
    Boundaries,
    DatasetDamagedError,
    DatasetMissingError,
    Manifest,
    RowGroup,
    Statistics,
    feature_schema_sha,
)
from purchasepath.storage.contents import describe
from tests.damage import flip_bit


def manifest(version: str = "v1", rows: int = 7, mean: float = 0.1 + 0.2) -> Manifest:
    return Manifest(
        version=version, created_at="2024-02-01T00:00:00+00:00", source="simulated",
        splits={"train": (RowGroup(f"{version}/a.parquet", 0, 5, 100), RowGroup(f"{version}/a.parquet", 1, rows, 60)),
                "valid": (), "test": ()},
        boundaries=Boundaries("2024-01-10", "2024-01-17", "2024-01-24", 24.0),
        max_length=64, num_items=12, num_types=9, feature_names=("a", "b"),
        statistics=Statistics(mean, 2.0, (0.5, 1.5), (1.0, 3.0)),
        vocabulary_sha="x", feature_schema_sha=feature_schema_sha("visitor"),
    )


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    manifest().save(tmp_path / "new" / "dataset")
    loaded = Manifest.load(tmp_path / "new" / "dataset")
    assert loaded == manifest()
    assert (loaded.rows("train"), loaded.rows("valid"), loaded.num_features) == (12, 0, 2)


def test_saving_again_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    manifest("v1").save(tmp_path)
    manifest("v2").save(tmp_path)
    assert Manifest.load(tmp_path).version == "v2"
    assert [file.name for file in tmp_path.iterdir()] == ["manifest.json"]


def test_a_directory_without_a_dataset_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(DatasetMissingError, match=r"write it first: \./spark-submit\.sh dataset"):
        Manifest.load(tmp_path / "nothing")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 99}', '{"format": 1, "version": 3}'])
def test_a_file_that_is_no_manifest_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DatasetMissingError, match=r"manifest\.json cannot be read"):
        Manifest.load(tmp_path)


@pytest.mark.parametrize("edit", [("12", "13"), ("simulated", "simulatef"), ('"digest"', '"dhgest"'),
                                  ("train_end", "trainend"), ("0.30000000000000004", "0.3")])
def test_a_changed_manifest_is_refused_whatever_was_changed(tmp_path: Path, edit: tuple[str, str]) -> None:
    file = manifest().save(tmp_path)
    file.write_text(file.read_text().replace(*edit, 1))
    with pytest.raises(DatasetMissingError, match=r"manifest\.json cannot be read"):
        Manifest.load(tmp_path)


def with_files(directory: Path) -> Manifest:
    """A dataset of one file of eight bytes."""
    (directory / "v1").mkdir()
    (directory / "v1" / "a.parquet").write_bytes(b"examples")
    return dataclasses.replace(manifest(), files=describe(directory / "v1"))


def test_files_are_named_with_their_digests_and_verified(tmp_path: Path) -> None:
    written = with_files(tmp_path)
    written.save(tmp_path)
    loaded = Manifest.load(tmp_path)
    assert loaded == written
    loaded.verify(tmp_path)
    flip_bit(tmp_path / "v1" / "a.parquet", 3)
    with pytest.raises(DatasetDamagedError, match=r"v1/a\.parquet: its content .*\n.*spark-submit\.sh dataset"):
        loaded.verify(tmp_path)
    (tmp_path / "v1" / "a.parquet").unlink()
    with pytest.raises(DatasetDamagedError, match=r"v1/a\.parquet: is missing"):
        loaded.verify(tmp_path)


def test_the_fingerprint_follows_the_content_and_not_the_version() -> None:
    later = dataclasses.replace(manifest("v2"), created_at="2025-01-01T00:00:00+00:00")
    assert later.fingerprint == manifest("v1").fingerprint
    assert manifest(rows=8).fingerprint != manifest().fingerprint
    assert manifest(mean=0.3).fingerprint != manifest().fingerprint


def test_a_manifest_without_its_digest_is_none(tmp_path: Path) -> None:
    file = manifest().save(tmp_path)
    content = json.loads(file.read_text(encoding="utf-8"))
    del content["digest"], content["files"]  # what was cut off took the digest with it
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DatasetMissingError, match="its digest differs"):
        Manifest.load(tmp_path)
