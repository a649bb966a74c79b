"""A tiny untrained bundle over items A, B, C …, and example rows for it, for tests of what uses a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from purchasepath.bundle.bundle import Bundle
from purchasepath.config import Model
from purchasepath.datasets.manifest import FIRST_ITEM, Asked, Boundaries, Manifest, Statistics, feature_schema_sha
from purchasepath.datasets.vocabulary import summarize_vocabulary
from purchasepath.models.build import build_model
from purchasepath.tables.tasks import LABEL_NAMES

NUM_TYPES = 9
MODEL = Model(width=8, layers=1, heads=2, dropout=0.0, tasks=("item", "purchase"))

EXAMPLE_SCHEMA = pa.schema([
    *((name, pa.list_(pa.int32())) for name in ("item", "type")),
    *((name, pa.list_(pa.float32())) for name in ("gap", "price")),
    *((name, pa.list_(pa.int32())) for name in ("target", "outcome", "point")),
    *((name, pa.list_(pa.float32())) for name in ("idle", "features", "labels")),
])


def labels_of(**answers: float) -> list[float]:
    """Of one point, in the order of LABEL_NAMES: churn is the opposite of a purchase, and what is not given is 0."""
    given = {"churn": 1.0 - answers.get("purchase", 0.0), **answers}
    return [float(given.get(name, 0.0)) for name in LABEL_NAMES]


def tiny_manifest(num_items: int = 8, feature_names: tuple[str, ...] = ("f", "g"), **changes: Any) -> Manifest:
    """A manifest without row groups; `num_items` counts the special ids."""
    size = len(feature_names)
    plain: dict[str, Any] = {
        "version": "v1", "created_at": "2024-02-01T00:00:00+00:00", "source": "simulated", "splits": {},
        "boundaries": Boundaries("2024-01-15T00:00:00+00:00", "2024-01-22T00:00:00+00:00",
                                 "2024-01-29T00:00:00+00:00", 168.0),
        "max_length": 16, "num_items": num_items, "num_types": NUM_TYPES, "feature_names": feature_names,
        "statistics": Statistics(0.0, 1.0, (0.0,) * size, (1.0,) * size),
        "vocabulary_sha": "v" * 64, "feature_schema_sha": feature_schema_sha("visitor"), "label_names": LABEL_NAMES,
        "horizon_hours": dict.fromkeys(LABEL_NAMES, 168.0),
        "asked": {"train": dict.fromkeys(LABEL_NAMES, Asked(9, 4))},
    }
    return Manifest(**{**plain, **changes})


def write_vocabulary(path: Path, num_items: int) -> Path:
    """Items A, B, C … with the ids 3, 4, 5 …; not in the order of their ids, as nothing promises one."""
    ids = list(range(num_items - 1, FIRST_ITEM - 1, -1))
    names = [chr(ord("A") + i - FIRST_ITEM) if num_items <= 29 else f"item-{i}" for i in ids]
    table = pa.table({"item_id": names, "id": pa.array(ids, pa.int32()), "count": pa.array([1] * len(ids), pa.int64())})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def tiny_bundle(
    directory: Path, *, seed: int = 0, manifest: Manifest | None = None, model: Model = MODEL, fits: bool = True
) -> Bundle:
    """An untrained bundle whose every weight is random, so that any two histories score differently.

    `fits=False` leaves a vocabulary digest that is not the vocabulary's.
    """
    manifest = manifest or tiny_manifest()
    torch.manual_seed(seed)
    network = build_model(model, num_items=manifest.num_items, num_types=manifest.num_types,
                          num_features=manifest.num_features, max_length=manifest.max_length,
                          label_names=manifest.label_names)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    vocabulary = write_vocabulary(directory / "vocabulary.parquet", manifest.num_items)
    if fits:
        manifest = replace(manifest, vocabulary_sha=summarize_vocabulary(vocabulary)[1])
    return Bundle.save(directory, name="tiny", model=network, model_config=model, manifest=manifest,
                       vocabulary_path=vocabulary, metrics={})


def example(items: list[int], *, targets: Mapping[int, int] | None = None, points: Mapping[int, int] | None = None,
            features: list[float] | None = None) -> dict[str, Any]:
    """A row of EXAMPLES: `targets` position -> target, `points` position -> 0 or 1 (bought)."""
    points = points or {}
    return {
        "item": items, "type": [1 + i % (NUM_TYPES - 1) for i in items], "gap": [float(i % 5) for i in items],
        "price": [0.1 * i for i in items], "target": [(targets or {}).get(p, 0) for p in range(len(items))],
        "outcome": [1 + i % 3 for i in items],
        "labels": [label for bought in points.values() for label in labels_of(purchase=bought, value=20.0 * bought)],
        "point": list(points), "idle": [1.0] * len(points),
        "features": features if features is not None else [0.5, -0.25] * len(points),
    }
