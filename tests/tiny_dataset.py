"""A small dataset on disk, in the layout the dataset stage writes, of a shop whose next item mostly follows a rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from purchasepath.datasets.manifest import FIRST_ITEM, Manifest, RowGroup
from tests.tiny_bundle import EXAMPLE_SCHEMA, labels_of, tiny_manifest, write_vocabulary

FEATURES = ("f", "g", "h")


def write_dataset(
    directory: Path, *, train: int = 200, valid: int = 80, num_items: int = 23, max_length: int = 10,
    rows_per_group: int = 32, seed: int = 0,
) -> Manifest:
    """The manifest of the dataset written to `directory`."""
    generator = np.random.default_rng(seed)
    splits = {
        split: _write_split(directory, split, rows, num_items, max_length, rows_per_group, generator)
        for split, rows in (("train", train), ("valid", valid), ("test", 0))
    }
    manifest = tiny_manifest(num_items, FEATURES, splits=splits, max_length=max_length)
    write_vocabulary(manifest.vocabulary_path(directory), num_items)
    manifest.save(directory)
    return manifest


def _write_split(
    directory: Path, split: str, rows: int, num_items: int, max_length: int, rows_per_group: int,
    generator: np.random.Generator,
) -> tuple[RowGroup, ...]:
    if not rows:
        return ()
    file = f"v1/examples/split={split}/part-00000.parquet"
    path = directory / file
    path.parent.mkdir(parents=True, exist_ok=True)
    examples = [_example(num_items, max_length, generator) for _ in range(rows)]
    pq.write_table(pa.Table.from_pylist(examples, schema=EXAMPLE_SCHEMA), path, row_group_size=rows_per_group)
    written = pq.read_metadata(path)
    return tuple(
        RowGroup(file, number, written.row_group(number).num_rows, written.row_group(number).total_byte_size)
        for number in range(written.num_row_groups)
    )


def _example(num_items: int, max_length: int, generator: np.random.Generator) -> dict[str, object]:
    known = num_items - FIRST_ITEM
    items = [int(generator.integers(known))]
    while len(items) < generator.integers(2, max_length + 1):
        items.append((items[-1] * 7 + 1) % known if generator.random() < 0.9 else int(generator.integers(known)))
    length = len(items)
    ids = [item + FIRST_ITEM for item in items]
    features = generator.normal(size=len(FEATURES))
    return {
        "item": ids, "type": [1] * length, "gap": [float(i % 4) for i in items], "price": [0.1 * i for i in items],
        "target": [*ids[1:], 0], "point": [length - 1], "idle": [2.0], "features": features.tolist(),
        "labels": labels_of(purchase=float(features[0] > 0.5), churn=float(features[1] > 0.5),
                            value=float(np.exp(3 + features[2])) * (features[0] > 0.5)),
        "outcome": [3 if item % 3 == 0 else 2 for item in items],
    }
