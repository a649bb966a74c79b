"""The self-describing model: a directory of weights, vocabulary and one JSON file that explains both.

```
<name>-<version>/
  model.safetensors     weights, nothing pickled
  vocabulary.parquet    item ids
  bundle.json           model shape, dataset contract, metrics, code version, digests of the other two files and its own
```

The version is a fingerprint of weights, model shape, vocabulary and dataset contract: the same training gives the
same version. Loading a bundle runs no code from it.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from purchasepath.config import Model
from purchasepath.datasets.manifest import Manifest
from purchasepath.errors import BundleMismatchError, DamagedFileError
from purchasepath.models.build import PurchasePathModel, build_model
from purchasepath.models.heads import NUM_SPECIAL_ITEMS
from purchasepath.storage.files import flush, sha256_file, sha256_json, write_json, write_text
from purchasepath.storage.parquet import read_footer

if TYPE_CHECKING:
    from torch import nn

FORMAT = 2
WEIGHTS = "model.safetensors"
VOCABULARY = "vocabulary.parquet"
DESCRIPTION = "bundle.json"
LATEST = "latest"
_VERSION_DIGITS = 16
_PARTS = {"name", "version", "model", "dataset", "metrics", "files", "digest"}


@dataclass(frozen=True)
class Bundle:
    """A bundle that was found whole: description read, digests checked."""

    directory: Path
    description: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.description["name"]

    @property
    def version(self) -> str:
        return self.description["version"]

    @property
    def metrics(self) -> dict[str, float]:
        return dict(self.description["metrics"])

    @property
    def vocabulary_path(self) -> Path:
        return self.directory / VOCABULARY

    @cached_property
    def model_config(self) -> Model:
        return Model.model_validate(self.description["model"])

    @cached_property
    def manifest(self) -> Manifest:
        """The dataset contract the model was trained under; its list of row groups is empty."""
        return Manifest.from_json(json.dumps(self.description["dataset"]))

    @staticmethod
    def save(
        models_directory: Path,
        *,
        name: str,
        model: nn.Module,
        model_config: Model,
        manifest: Manifest,
        vocabulary_path: Path,
        metrics: Mapping[str, float],
        training: Mapping[str, Any] | None = None,
    ) -> Bundle:
        """The bundle at `<models_directory>/<name>-<version>`, visible only once it is whole.

        `training` is anything worth keeping about how it was made (resolved config, run ids).
        """
        models_directory.mkdir(parents=True, exist_ok=True)
        temporary = models_directory / f".{name}-{uuid.uuid4().hex[:8]}"
        temporary.mkdir()
        try:
            weights = {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()}
            save_file(weights, temporary / WEIGHTS, metadata={"format": "pt"})
            shutil.copyfile(vocabulary_path, temporary / VOCABULARY)
            description = _describe(temporary, name, model_config, manifest, metrics, training or {})
            write_json(temporary / DESCRIPTION, description)
            Bundle.load(temporary)  # what we could not load ourselves is never published
            for file in (WEIGHTS, VOCABULARY):
                flush(temporary / file)
            return Bundle.load(_move(temporary, models_directory / f"{name}-{description['version']}"))
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @staticmethod
    def load(directory: Path | str) -> Bundle:
        """The bundle in `directory`. Raises BundleMismatchError when any part is missing, damaged or foreign."""
        directory = Path(directory)
        bundle = Bundle(directory, _read_description(directory))
        _check_digest(bundle)
        for file in (WEIGHTS, VOCABULARY):
            _check_file(directory / file, bundle.description["files"][file])
        _check_vocabulary(bundle)
        if _fingerprint(bundle.description) != bundle.version:
            raise BundleMismatchError(
                f"bundle {directory}: bundle.json was changed after training (expected version {bundle.version}, "
                f"found {_fingerprint(bundle.description)}); train again or use another bundle"
            )
        return bundle

    def build(self) -> PurchasePathModel:
        """The model in eval mode; weights are mapped from the file, so processes on one host share them."""
        manifest = self.manifest
        with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
            model = build_model(
                self.model_config,
                num_items=manifest.num_items,
                num_types=manifest.num_types,
                num_features=len(manifest.feature_names),
                max_length=manifest.max_length,
                label_names=manifest.label_names,
            )
        try:
            model.load_state_dict(load_file(self.directory / WEIGHTS), strict=True, assign=True)
        except (SafetensorError, RuntimeError, OSError) as failure:
            raise BundleMismatchError(
                f"bundle {self.directory}: the weights do not fit the model this version of the code builds "
                f"({failure}); train again: ./spark-submit.sh train"
            ) from None
        return model.eval().requires_grad_(False)

    def require(self, *, feature_schema_sha: str | None = None, vocabulary_sha: str | None = None) -> None:
        """Raises BundleMismatchError if the bundle was trained on other features or another vocabulary."""
        faults = []
        for what, expected, found in (
            ("feature schema", feature_schema_sha, self.manifest.feature_schema_sha),
            ("vocabulary", vocabulary_sha, self.manifest.vocabulary_sha),
        ):
            if expected is not None and expected != found:
                faults.append(f"  - {what}: expected {expected[:12]}, the bundle has {found[:12]}")
        if faults:
            raise BundleMismatchError(
                f"bundle {self.name} {self.version} does not fit this data:\n" + "\n".join(faults)
                + "\nuse the bundle trained on this dataset, or train again: ./spark-submit.sh train"
            )


def point_latest(bundle: Bundle) -> None:
    """Makes `latest` in the bundle's models directory name this bundle."""
    write_text(bundle.directory.parent / LATEST, bundle.directory.name + "\n")


def _describe(
    directory: Path,
    name: str,
    model_config: Model,
    manifest: Manifest,
    metrics: Mapping[str, float],
    training: Mapping[str, Any],
) -> dict[str, Any]:
    files = {
        file: {"sha256": sha256_file(directory / file), "bytes": (directory / file).stat().st_size}
        for file in (WEIGHTS, VOCABULARY)
    }
    description = {
        "format": FORMAT,
        "name": name,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": model_config.model_dump(mode="json"),
        "dataset": replace(manifest, splits={}, files={}).facts(),
        "metrics": {key: float(value) for key, value in metrics.items()},
        "training": dict(training),
        "made_with": {"torch": torch.__version__},
        "files": files,
    }
    description["version"] = _fingerprint(description)
    return {**description, "digest": sha256_json(description)}


def _fingerprint(description: Mapping[str, Any]) -> str:
    """Digest of what decides the scores: weights, model shape, vocabulary and dataset contract."""
    dataset = {k: v for k, v in description["dataset"].items() if k not in ("version", "created_at")}
    content = {
        "format": description["format"],
        "model": description["model"],
        "dataset": dataset,
        "weights": description["files"][WEIGHTS]["sha256"],
    }
    return sha256_json(content)[:_VERSION_DIGITS]


def _read_description(directory: Path) -> dict[str, Any]:
    file = directory / DESCRIPTION
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleMismatchError(
            f"{directory} is not a bundle: expected {DESCRIPTION} in it; "
            f"give the directory that train printed, or `latest`"
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as failure:
        raise BundleMismatchError(f"{file} cannot be read ({failure}); copy the bundle again") from None
    found = description.get("format") if isinstance(description, dict) else None
    if found != FORMAT:
        raise BundleMismatchError(
            f"bundle {directory}: expected format {FORMAT}, found {found}; use the code that wrote it, or train again"
        )
    _check_parts(directory, description)
    return description


def _check_parts(directory: Path, description: dict[str, Any]) -> None:
    missing = sorted(_PARTS - description.keys())
    files = description.get("files")
    for file in (WEIGHTS, VOCABULARY):
        facts = files.get(file) if isinstance(files, dict) else None
        missing += [file] if not isinstance(facts, dict) or not {"bytes", "sha256"} <= facts.keys() else []
    if missing:
        raise BundleMismatchError(f"bundle {directory}: {DESCRIPTION} lacks {', '.join(missing)}; copy it again")
    readers: tuple[tuple[str, Callable[[], object]], ...] = (
        ("model", lambda: Model.model_validate(description["model"])),
        ("dataset", lambda: Manifest.from_json(json.dumps(description["dataset"]))),
    )
    for part, read in readers:
        try:
            read()
        except (ValidationError, KeyError, TypeError, ValueError) as failure:
            raise BundleMismatchError(
                f"bundle {directory}: its {part} section is not one that this code knows ({failure}); train again"
            ) from None


def _check_file(path: Path, expected: Mapping[str, Any]) -> None:
    if not path.is_file():
        raise BundleMismatchError(f"bundle {path.parent}: {path.name} is missing; copy the bundle again")
    if path.stat().st_size != expected["bytes"]:
        raise BundleMismatchError(
            f"bundle {path.parent}: {path.name} has {path.stat().st_size} bytes, expected {expected['bytes']}; "
            f"copy the bundle again"
        )
    if sha256_file(path) != expected["sha256"]:
        raise BundleMismatchError(f"bundle {path.parent}: {path.name} is damaged (its digest differs); copy it again")


def _check_digest(bundle: Bundle) -> None:
    """Name, metrics and configuration are those of the training. """
    content = dict(bundle.description)
    digest = content.pop("digest", None)
    unknown = sorted(content.keys() - _PARTS - {"format", "created_at", "training", "made_with"})
    if unknown or digest != sha256_json(content):
        raise BundleMismatchError(
            f"bundle {bundle.directory}: {DESCRIPTION} was changed after training "
            f"({'it says what no training says: ' + ', '.join(unknown) if unknown else 'its digest differs'}); "
            f"copy the bundle again"
        )


def _check_vocabulary(bundle: Bundle) -> None:
    expected = bundle.manifest.num_items - NUM_SPECIAL_ITEMS
    try:
        found = read_footer(bundle.vocabulary_path).num_rows
    except DamagedFileError as failure:
        raise BundleMismatchError(f"{bundle.vocabulary_path} is not Parquet ({failure}); copy it again") from None
    if found != expected:
        raise BundleMismatchError(
            f"bundle {bundle.directory}: the model knows {expected} items, its vocabulary has {found}; train again"
        )


def _move(temporary: Path, final: Path) -> Path:
    """`temporary` renamed to `final`. An equal, whole bundle that is already there stays: readers may be in it."""
    if final.exists():
        try:
            Bundle.load(final)
            return final
        except BundleMismatchError:
            shutil.rmtree(final)
    os.rename(temporary, final)
    flush(final.parent)
    return final
