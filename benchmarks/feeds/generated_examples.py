"""Examples to read: in our layout, and padded to equal lengths, which is what stock Petastorm accepts.

Lengths are 1 to 50, mean 12; every example has one as-of point with 8 features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from purchasepath.datasets.manifest import Boundaries, Manifest, RowGroup, Statistics
from purchasepath.datasets.rows import EVENT_COLUMNS, POINT_COLUMNS
from purchasepath.tables.tasks import LABEL_NAMES

MAX_LENGTH = 50
NUM_FEATURES = 8
NUM_ITEMS = 10_000
THREE_LISTS = ("item", "type", "gap")
_ROWS_PER_FILE = 65_536


def write_examples(directory: Path, rows: int, rows_per_group: int, **parquet: Any) -> Manifest:
    """Writes `ragged/` (EXAMPLES) and `padded/` (the same examples); the manifest of the first.

    `parquet` are settings of pyarrow's writer.
    """
    groups: list[RowGroup] = []
    for number, start in enumerate(range(0, rows, _ROWS_PER_FILE)):
        part = min(_ROWS_PER_FILE, rows - start)
        generator = np.random.default_rng([7, number])
        lengths = 1 + np.minimum(MAX_LENGTH - 1, generator.exponential(11.7, part)).astype(np.int64)
        values = _values(generator, int(lengths.sum()), part)
        name = f"part-{number:05d}.parquet"
        for layout, make in (("ragged", _ragged), ("padded", _padded)):
            (directory / layout).mkdir(parents=True, exist_ok=True)
            pq.write_table(make(lengths, values), directory / layout / name, row_group_size=rows_per_group, **parquet)
        sizes = [min(rows_per_group, part - at) for at in range(0, part, rows_per_group)]
        groups += [RowGroup(f"ragged/{name}", index, size, 0) for index, size in enumerate(sizes)]
    names = tuple(f"f{i}" for i in range(NUM_FEATURES))
    statistics = Statistics(0.0, 1.0, (0.0,) * NUM_FEATURES, (1.0,) * NUM_FEATURES)
    return Manifest("v", "", "generated", {"train": tuple(groups)}, Boundaries("", "", "", 1.0), MAX_LENGTH, NUM_ITEMS,
                    9, names, statistics, "", "", LABEL_NAMES)


_WIDTHS = {"features": NUM_FEATURES, "labels": len(LABEL_NAMES)}


def _values(generator: np.random.Generator, events: int, rows: int) -> dict[str, np.ndarray]:
    item = 3 + (generator.pareto(1.2, events) * 20).astype(np.int64) % (NUM_ITEMS - 3)
    return {
        "item": item.astype(np.int32), "target": np.roll(item, -1).astype(np.int32),
        "type": generator.integers(1, 9, events).astype(np.int32),
        "outcome": generator.integers(0, 4, events).astype(np.int32),
        "gap": np.log1p(generator.exponential(600, events)).astype(np.float32),
        "price": np.round(generator.normal(size=events), 2).astype(np.float32),
        "point": np.zeros(rows, np.int32),
        "labels": (generator.random(rows * len(LABEL_NAMES)) < 0.1).astype(np.float32),
        "idle": generator.exponential(9, rows).astype(np.float32),
        "features": generator.normal(size=rows * NUM_FEATURES).astype(np.float32),
    }


def _ragged(lengths: np.ndarray, values: dict[str, np.ndarray]) -> pa.Table:
    return pa.table({
        name: pa.ListArray.from_arrays(pa.array(_offsets(lengths, name), pa.int32()), pa.array(column))
        for name, column in values.items()
    })


def _padded(lengths: np.ndarray, values: dict[str, np.ndarray]) -> pa.Table:
    real_BL = np.arange(MAX_LENGTH) < lengths[:, None]
    columns = {}
    for name, column in values.items():
        if name in EVENT_COLUMNS:
            grid_BL = np.zeros(real_BL.shape, column.dtype)
            grid_BL[real_BL] = column
            column = grid_BL.reshape(-1)
        width = len(column) // len(lengths)
        offsets = np.arange(0, len(column) + 1, width)
        columns[name] = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(column))
    return pa.table(columns)


def _offsets(lengths: np.ndarray, name: str) -> np.ndarray:
    each = lengths if name in EVENT_COLUMNS else np.full(len(lengths), 1 if name in POINT_COLUMNS else _WIDTHS[name])
    return np.concatenate([[0], np.cumsum(each)])
