"""The manifest of a dataset: what was written, from which data, in which row groups.

`manifest.json` in the dataset directory names one version and is replaced atomically: that replacement is
the switch from one dataset to the next. Everything a rank needs to know before its first step stands here.

    <dataset>/manifest.json
    <dataset>/<version>/vocabulary.parquet
    <dataset>/<version>/side_features.parquet                      where the dataset has any
    <dataset>/<version>/examples/split=train/part-00000.parquet   (and split=valid, split=test)
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from purchasepath.errors import UserError
from purchasepath.storage.contents import FileFacts, faults_in
from purchasepath.storage.files import sha256_json
from purchasepath.tables.features import USER_FEATURES_DECLARED

FILE_NAME = "manifest.json"
FORMAT = 2
SPLITS = ("train", "valid", "test")
PADDING, NO_ITEM, UNKNOWN_ITEM, FIRST_ITEM = 0, 1, 2, 3
"""Vocabulary ids with a meaning of their own; items count from FIRST_ITEM."""
CONTEXT, NOT_ASKED, NO_PURCHASE_FOLLOWS, PURCHASE_FOLLOWS = 0, 1, 2, 3
"""Values of `outcome` in EXAMPLES; nothing is predicted at CONTEXT, and the session's end not at NOT_ASKED."""


class DatasetMissingError(UserError):
    """No readable dataset in the directory."""


class DatasetDamagedError(UserError):
    """A file of the dataset that cannot be read, or holds something else than the manifest says."""


@dataclass(frozen=True)
class RowGroup:
    """One Parquet row group; `file` is relative to the dataset directory, `bytes` are uncompressed."""

    file: str
    row_group: int
    rows: int
    bytes: int


@dataclass(frozen=True)
class Asked:
    """Places of a split where a task of `model.tasks` is asked, and those of them where the answer is yes, or not 0.

    `yes` is None where the answer is a choice among many.
    """

    places: int
    yes: int | None = None

    @property
    def rarest(self) -> int:
        """How often the rarer answer was given; of a choice, any."""
        return self.places if self.yes is None else min(self.yes, self.places - self.yes)

    def __str__(self) -> str:
        return f"{self.places:,}" + ("" if self.yes is None else f" ({self.yes:,} yes)")


@dataclass(frozen=True)
class Boundaries:
    """Ends of the splits (ISO 8601, UTC) and the horizon of the purchase label."""

    train_end: str
    valid_end: str
    test_end: str
    horizon_hours: float


@dataclass(frozen=True)
class Statistics:
    """Means and standard deviations of the training span, used wherever a value is standardised."""

    price_mean: float
    price_std: float
    feature_mean: tuple[float, ...]
    feature_std: tuple[float, ...]


@dataclass(frozen=True)
class Manifest:
    """A dataset as a value.

    `num_items` counts ids 0..num_items-1 including padding, no item and unknown item; the last `num_cold` of them are
    items without a history on the training span. `num_types` is the number of event types plus one for padding.
    `source` names the raw source (synthetic data says so). `side_features` are the columns of SIDE_FEATURES that
    say something, each with the number of its ids, unknown included, or the width of its vectors. `asked` says per
    split and task what there is to learn from or to measure on.
    """

    version: str
    created_at: str
    source: str
    splits: Mapping[str, tuple[RowGroup, ...]]
    boundaries: Boundaries
    max_length: int
    num_items: int
    num_types: int
    feature_names: tuple[str, ...]
    statistics: Statistics
    vocabulary_sha: str
    feature_schema_sha: str
    label_names: tuple[str, ...] = ()
    horizon_hours: Mapping[str, float] = field(default_factory=dict)
    """Of each task with a label."""
    num_cold: int = 0
    side_features: Mapping[str, int] = field(default_factory=dict)
    side_sha: str = ""
    files: Mapping[str, FileFacts] = field(default_factory=dict)
    """Every file below the version's directory; none of a bundle's dataset."""
    asked: Mapping[str, Mapping[str, Asked]] = field(default_factory=dict)

    @property
    def num_known(self) -> int:
        """Ids below this one are special or have a history on the training span."""
        return self.num_items - self.num_cold

    @property
    def num_features(self) -> int:
        return len(self.feature_names)

    def rows(self, split: str) -> int:
        """Examples of the split."""
        return sum(group.rows for group in self.splits[split])

    def vocabulary_path(self, directory: str | Path) -> Path:
        """The vocabulary's Parquet file, given the dataset directory."""
        return Path(directory) / self.version / "vocabulary.parquet"

    def side_path(self, directory: str | Path) -> Path:
        """The side features' Parquet file, given the dataset directory."""
        return Path(directory) / self.version / "side_features.parquet"

    @property
    def fingerprint(self) -> str:
        """sha256 of the content: equal for two runs that wrote the same dataset.

        Version and creation time are left out; file names are taken relative to the version.
        """
        content = self._as_dict()
        for volatile in ("version", "created_at", "files"):
            del content[volatile]
        for groups in content["splits"].values():
            for group in groups:
                group["file"] = group["file"].removeprefix(f"{self.version}/")
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        """The manifest with its own digest."""
        content = {"format": FORMAT, **self._as_dict()}
        return json.dumps({**content, "digest": sha256_json(content)}, indent=1)

    def facts(self) -> dict[str, Any]:
        """What is true of the dataset wherever its files lie: as `to_json`, without them and without the digest."""
        content: dict[str, Any] = json.loads(json.dumps({"format": FORMAT, **self._as_dict()}))
        del content["files"]
        return content

    def verify(self, directory: str | Path) -> None:
        """Raises DatasetDamagedError, naming every file below the dataset directory that is not as it was written."""
        faults = faults_in(Path(directory) / self.version, self.files, whole=True) if self.files else []
        if faults:
            raise DatasetDamagedError("\n".join([
                "the dataset is not as it was written:", *(f"  - {fault}" for fault in faults[:10]),
                "write it again: ./spark-submit.sh dataset"]))

    @classmethod
    def from_json(cls, text: str, *, signed: bool = False) -> Manifest:
        """The manifest written by `to_json`, or, unless it has to be `signed`, of `facts`, which hold no digest.

        Raises ValueError where the text is something else.
        """
        try:
            content = json.loads(text)
            if not isinstance(content, dict) or content.get("format") != FORMAT:
                raise ValueError("another format")
            digest = content.pop("digest", None)
            if digest != sha256_json(content) and (signed or digest is not None):
                raise ValueError("it is not what was written: its digest differs")
            del content["format"]
            return cls(**{
                **content,
                "splits": {s: tuple(RowGroup(**g) for g in groups) for s, groups in content["splits"].items()},
                "boundaries": Boundaries(**content["boundaries"]),
                "feature_names": tuple(content["feature_names"]),
                "label_names": tuple(content["label_names"]),
                "statistics": _statistics(**content["statistics"]),
                "asked": {split: {question: Asked(**facts) for question, facts in questions.items()}
                          for split, questions in content.get("asked", {}).items()},
                "files": {name: FileFacts(**facts) for name, facts in content.get("files", {}).items()},
            })
        except (KeyError, TypeError, AttributeError, ValueError) as fault:
            raise ValueError(f"not a dataset manifest of format {FORMAT}: {fault!r}") from fault

    @classmethod
    def load(cls, directory: str | Path) -> Manifest:
        """The manifest of the dataset in `directory`."""
        file = Path(directory) / FILE_NAME
        try:
            return cls.from_json(file.read_text(encoding="utf-8"), signed=True)
        except FileNotFoundError:
            raise DatasetMissingError(
                f"a dataset was expected in {directory} and there is no {FILE_NAME}; "
                "write it first: ./spark-submit.sh dataset"
            ) from None
        except (OSError, ValueError) as fault:
            raise DatasetMissingError(
                f"{file} cannot be read ({fault}); write the dataset again: ./spark-submit.sh dataset"
            ) from None

    def save(self, directory: str | Path) -> Path:
        """Make this the manifest of `directory`: readers see the old one or this one, never a part of it."""
        file = Path(directory) / FILE_NAME
        file.parent.mkdir(parents=True, exist_ok=True)
        # opened plainly rather than by mkstemp, so that the umask decides who may read it
        unfinished = file.with_name(f"{FILE_NAME}.{os.getpid()}.tmp")
        with unfinished.open("w", encoding="utf-8") as out:
            out.write(self.to_json())
            out.flush()
            os.fsync(out.fileno())
        os.replace(unfinished, file)
        return file

    def _as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def feature_schema_sha(identity: str) -> str:
    """sha256 of the user features as this code declares them: names, order, inputs, windows, values for missing;

    and of whose they are (`features.identity`).
    """
    declared = [
        [f.name, f.input, f.aggregation, f.window_days, f.missing, f.over] for f in USER_FEATURES_DECLARED
    ]
    return hashlib.sha256(json.dumps([identity, declared]).encode()).hexdigest()


def _statistics(
    *, price_mean: float, price_std: float, feature_mean: list[float], feature_std: list[float]
) -> Statistics:
    return Statistics(price_mean, price_std, tuple(feature_mean), tuple(feature_std))
