from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from purchasepath.bundle.bundle import Bundle, point_latest
from purchasepath.bundle.contract import require_same_dataset
from purchasepath.errors import BundleMismatchError
from purchasepath.models.build import build_model
from purchasepath.models.encoders import ENCODERS
from tests.tiny_bundle import MODEL, tiny_bundle, tiny_manifest, write_vocabulary


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return tiny_bundle(tmp_path / "models")


def edit_description(bundle: Bundle, **changes: object) -> None:
    file = bundle.directory / "bundle.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_loaded_bundle_scores_as_the_model_that_was_saved(tmp_path: Path) -> None:
    manifest = tiny_manifest()
    torch.manual_seed(5)
    model = build_model(MODEL, num_items=manifest.num_items, num_types=manifest.num_types,
                        num_features=manifest.num_features, max_length=manifest.max_length).eval()
    vocabulary = write_vocabulary(tmp_path / "vocabulary.parquet", manifest.num_items)
    saved = Bundle.save(tmp_path / "models", name="shop", model=model, model_config=MODEL, manifest=manifest,
                        vocabulary_path=vocabulary, metrics={"valid_loss": 2.5}, training={"run_id": "r"})
    loaded = Bundle.load(saved.directory)
    hidden_ND = torch.randn(3, MODEL.width)
    assert torch.equal(loaded.build().item_scores(hidden_ND), model.item_scores(hidden_ND))
    assert (loaded.name, loaded.metrics) == ("shop", {"valid_loss": 2.5})
    assert loaded.manifest == replace(manifest, splits={})
    assert loaded.vocabulary_path.read_bytes() == vocabulary.read_bytes()


@pytest.mark.parametrize("encoder", sorted(ENCODERS))
def test_a_bundle_builds_the_encoder_it_was_trained_with(tmp_path: Path, encoder: str) -> None:
    bundle = tiny_bundle(tmp_path, model=MODEL.model_copy(update={"encoder": encoder}))
    assert type(bundle.build().encoder) is type(build_model(
        bundle.model_config, num_items=8, num_types=9, num_features=2, max_length=16).encoder)
    assert json.loads((bundle.directory / "bundle.json").read_text())["model"]["encoder"] == encoder


def test_the_built_model_is_ready_to_score(bundle: Bundle) -> None:
    model = bundle.build()
    assert not model.training
    assert not any(p.requires_grad or p.is_meta for p in model.parameters())


def test_the_version_follows_from_the_content(tmp_path: Path, bundle: Bundle) -> None:
    assert tiny_bundle(tmp_path / "elsewhere").version == bundle.version
    others = [
        tiny_bundle(tmp_path / "a", seed=1),
        tiny_bundle(tmp_path / "b", manifest=tiny_manifest(feature_schema_sha="x" * 64)),
        tiny_bundle(tmp_path / "c", fits=False),
    ]
    assert len({bundle.version, *(other.version for other in others)}) == 4


def test_a_dataset_written_again_with_the_same_content_gives_the_same_version(tmp_path: Path, bundle: Bundle) -> None:
    later = tiny_manifest(version="v2", created_at="2025-01-01T00:00:00+00:00")
    assert tiny_bundle(tmp_path / "later", manifest=later).version == bundle.version


def test_saving_again_leaves_the_bundle_that_is_there(bundle: Bundle) -> None:
    before = (bundle.directory / "bundle.json").stat().st_ino
    assert tiny_bundle(bundle.directory.parent).directory == bundle.directory
    assert (bundle.directory / "bundle.json").stat().st_ino == before
    assert not [d for d in bundle.directory.parent.iterdir() if d.name.startswith(".")]


def test_saving_again_replaces_a_damaged_bundle(bundle: Bundle) -> None:
    (bundle.directory / "model.safetensors").write_bytes(b"")
    assert tiny_bundle(bundle.directory.parent).build() is not None


def test_latest_names_the_newest_bundle(bundle: Bundle) -> None:
    point_latest(bundle)
    assert (bundle.directory.parent / "latest").read_text().strip() == bundle.directory.name


@pytest.mark.parametrize("file", ["model.safetensors", "vocabulary.parquet"])
def test_a_missing_truncated_or_altered_file_is_refused_by_name(bundle: Bundle, file: str) -> None:
    path = bundle.directory / file
    content = path.read_bytes()
    altered = content[:-1] + bytes([content[-1] ^ 1])
    for damage, message in ((content[:-10], "bytes, expected"), (altered, "is damaged")):
        path.write_bytes(damage)
        with pytest.raises(BundleMismatchError, match=f"{file} .*{message}"):
            Bundle.load(bundle.directory)
    path.unlink()
    with pytest.raises(BundleMismatchError, match=f"{file} is missing"):
        Bundle.load(bundle.directory)


def test_a_directory_without_a_description_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleMismatchError, match=r"is not a bundle: expected bundle\.json"):
        Bundle.load(tmp_path)


def test_a_description_that_is_not_json_is_refused(bundle: Bundle) -> None:
    (bundle.directory / "bundle.json").write_text("{")
    with pytest.raises(BundleMismatchError, match="cannot be read"):
        Bundle.load(bundle.directory)


def test_another_format_is_refused(bundle: Bundle) -> None:
    edit_description(bundle, format=99)
    with pytest.raises(BundleMismatchError, match="expected format 2, found 99"):
        Bundle.load(bundle.directory)


@pytest.mark.parametrize("part", ["model", "dataset"])
def test_a_section_of_another_code_is_refused_by_name(bundle: Bundle, part: str) -> None:
    edit_description(bundle, **{part: {"unknown": 1}})
    with pytest.raises(BundleMismatchError, match=f"its {part} section"):
        Bundle.load(bundle.directory)


@pytest.mark.parametrize("fact", ["bytes", "sha256"])
def test_a_flipped_letter_in_what_is_said_of_a_file_is_refused(bundle: Bundle, fact: str) -> None:
    file = bundle.directory / "bundle.json"
    file.write_text(file.read_text().replace(f'"{fact}"', f'"{fact[:-1]}~"', 1))
    with pytest.raises(BundleMismatchError, match="lacks"):
        Bundle.load(bundle.directory)


def test_an_edited_description_is_refused(bundle: Bundle) -> None:
    edit_description(bundle, model={**bundle.description["model"], "heads": 4})
    with pytest.raises(BundleMismatchError, match="changed after training"):
        Bundle.load(bundle.directory)


@pytest.mark.parametrize("part", [{"name": "other"}, {"metrics": {"valid_loss": 0.1}}, {"training": {"run_id": "x"}},
                                  {"created_at": "2020-01-01"}, {"unheard": 1}])
def test_name_metrics_and_configuration_are_under_the_digest(bundle: Bundle, part: dict[str, object]) -> None:
    edit_description(bundle, **part)
    with pytest.raises(BundleMismatchError, match=r"bundle\.json was changed after training .*copy the bundle again"):
        Bundle.load(bundle.directory)


def test_a_bundle_without_its_digest_is_refused(bundle: Bundle) -> None:
    file = bundle.directory / "bundle.json"
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "digest"}))
    with pytest.raises(BundleMismatchError, match=r"bundle\.json lacks digest"):
        Bundle.load(bundle.directory)


@pytest.mark.parametrize(("change", "told"), [
    ({"label_names": ("purchase", "value", "churn", "orders", "returns")}, "tasks with labels"),
    ({"horizon_hours": {"purchase": 24.0}}, "horizons of the tasks"),
])
def test_a_dataset_whose_labels_mean_something_else_is_refused(
        bundle: Bundle, change: dict[str, object], told: str) -> None:
    require_same_dataset(bundle, bundle.manifest)
    with pytest.raises(BundleMismatchError, match=told):
        require_same_dataset(bundle, replace(bundle.manifest, **change))


def test_a_vocabulary_of_another_size_is_refused(tmp_path: Path) -> None:
    manifest = tiny_manifest()
    model = build_model(MODEL, num_items=manifest.num_items, num_types=manifest.num_types,
                        num_features=manifest.num_features, max_length=manifest.max_length)
    vocabulary = write_vocabulary(tmp_path / "vocabulary.parquet", manifest.num_items + 1)
    with pytest.raises(BundleMismatchError, match="knows 5 items, its vocabulary has 6"):
        Bundle.save(tmp_path / "models", name="x", model=model, model_config=MODEL, manifest=manifest,
                    vocabulary_path=vocabulary, metrics={})
    assert not list((tmp_path / "models").iterdir())  # nothing half-written stays


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    manifest = tiny_manifest()
    model = build_model(MODEL, num_items=manifest.num_items + 1, num_types=manifest.num_types,
                        num_features=manifest.num_features, max_length=manifest.max_length)
    vocabulary = write_vocabulary(tmp_path / "vocabulary.parquet", manifest.num_items)
    with pytest.raises(BundleMismatchError, match="do not fit the model"):
        Bundle.save(tmp_path / "models", name="x", model=model, model_config=MODEL, manifest=manifest,
                    vocabulary_path=vocabulary, metrics={}).build()


def test_other_features_and_another_vocabulary_are_refused_together(bundle: Bundle) -> None:
    trained_on = bundle.manifest
    bundle.require(feature_schema_sha=trained_on.feature_schema_sha, vocabulary_sha=trained_on.vocabulary_sha)
    with pytest.raises(BundleMismatchError) as refusal:
        bundle.require(feature_schema_sha="0" * 64, vocabulary_sha="1" * 64)
    told = str(refusal.value)
    assert f"feature schema: expected 000000000000, the bundle has {trained_on.feature_schema_sha[:12]}" in told
    assert f"vocabulary: expected 111111111111, the bundle has {trained_on.vocabulary_sha[:12]}" in told
