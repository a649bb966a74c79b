"""Side features as arrays by vocabulary id: what a training rank needs of them.

Legend: I items (special ids included, of which nothing is said), V width of the vectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from purchasepath.datasets.manifest import Manifest
from purchasepath.storage.parquet import read_parquet

NUMBERS = ("category", "brand", "price")


@dataclass(frozen=True)
class Sides:
    """`number_I` of the side features that are numbers, by name; `vector_IV`, with V = 0 where there are none."""

    number_I: Mapping[str, np.ndarray]
    vector_IV: np.ndarray


def read_sides(directory: Path, manifest: Manifest) -> Sides | None:
    """The dataset's side features; None where it has none."""
    sizes = manifest.side_features
    if not sizes:
        return None
    table = read_parquet(manifest.side_path(directory))
    id_N = table["id"].to_numpy()
    number_I = {name: np.zeros(manifest.num_items, np.int64) for name in NUMBERS if name in sizes}
    for name, values_I in number_I.items():
        values_I[id_N] = table[name].to_numpy()
    width = sizes.get("vector", 0)
    vector_IV: np.ndarray = np.zeros((manifest.num_items, width), np.float32)
    if width:
        vector_IV[id_N] = table["vector"].combine_chunks().flatten().to_numpy().reshape(-1, width)
    return Sides(number_I, vector_IV)
