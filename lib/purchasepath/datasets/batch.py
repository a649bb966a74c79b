"""Padded tensors from ragged Arrow columns.

Legend: B examples, L padded length, P as-of points of the whole batch, F features.

    item  [[7, 9], [4]]   ->  item_BL  [[7, 9],      point [[1], [0]]  ->  row_P      [0, 1]
                                        [4, 0]]                            position_P [1, 0]

Padding is 0 and on the right. Everything is whole-array work on Arrow's offsets; no Python per row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
import torch

EVENT_COLUMNS: Mapping[str, type] = {
    "item": np.int64, "type": np.int64, "gap": np.float32, "price": np.float32, "target": np.int64,
}
POINT_COLUMNS = ("point", "idle", "bought")
COLUMNS = (*EVENT_COLUMNS, *POINT_COLUMNS, "features")
"""Columns of EXAMPLES that make a batch."""


@dataclass(frozen=True)
class Batch:
    """One step's examples on one rank; it may have no rows, no points or both."""

    item_BL: torch.Tensor  # int64
    type_BL: torch.Tensor  # int64
    gap_BL: torch.Tensor  # float32
    price_BL: torch.Tensor  # float32
    target_BL: torch.Tensor  # int64, 0 where there is nothing to predict
    row_P: torch.Tensor  # int64, example of each point
    position_P: torch.Tensor  # int64, event of that example after which the point lies
    idle_P: torch.Tensor  # float32
    features_PF: torch.Tensor  # float32
    bought_P: torch.Tensor  # float32, 0 or 1

    @property
    def rows(self) -> int:
        return self.item_BL.shape[0]

    @property
    def points(self) -> int:
        return self.row_P.shape[0]

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The same batch on `device`."""
        return Batch(**{f.name: getattr(self, f.name).to(device, non_blocking=non_blocking) for f in fields(self)})

    def pin(self) -> Batch:
        """The same batch in page-locked memory, from which a GPU copies while it computes."""
        return Batch(**{f.name: getattr(self, f.name).pin_memory() for f in fields(self)})


def batch_from_arrow(data: pa.Table | pa.RecordBatch, num_features: int | None = None) -> Batch:
    """One batch of all rows of `data`, in their order.

    `data` has the list columns of EXAMPLES (others are ignored); it may be sliced or chunked. L is the longest
    row's length, at least 1. `num_features` is F; without it F follows from the data, which takes a point.
    """
    ragged = {name: _ragged(data, name) for name in COLUMNS}
    points_P, point_lengths_B = ragged["point"]
    features = ragged["features"][0]
    width = num_features if num_features is not None else (len(features) // len(points_P) if len(points_P) else 0)
    if len(features) != width * len(points_P):
        raise ValueError(f"{len(features)} feature values for {len(points_P)} points of {width} features")
    return Batch(
        **_padded_events(ragged),
        row_P=torch.from_numpy(np.repeat(np.arange(data.num_rows), point_lengths_B)),
        position_P=_tensor(points_P, np.int64),
        idle_P=_tensor(_parallel(ragged, "idle", "point"), np.float32),
        features_PF=_tensor(features, np.float32).reshape(len(points_P), width),
        bought_P=_tensor(_parallel(ragged, "bought", "point"), np.float32),
    )


def join_rows(slices: list[pa.Table]) -> pa.Table:
    """The rows of all slices, one after the other, in one chunk per column."""
    return pa.concat_tables(slices).combine_chunks() if len(slices) != 1 else slices[0]


def _padded_events(ragged: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, torch.Tensor]:
    lengths_B = ragged["item"][1]
    padded_length = max(1, int(lengths_B.max(initial=0)))
    starts_B = np.cumsum(lengths_B) - lengths_B
    # place of every value in the flattened B x L grid, shared by all columns
    place = np.arange(int(lengths_B.sum())) + np.repeat(np.arange(len(lengths_B)) * padded_length - starts_B, lengths_B)
    tensors = {}
    for name, dtype in EVENT_COLUMNS.items():
        grid: np.ndarray = np.zeros(len(lengths_B) * padded_length, dtype=dtype)
        grid[place] = _parallel(ragged, name, "item")
        tensors[f"{name}_BL"] = torch.from_numpy(grid.reshape(len(lengths_B), padded_length))
    return tensors


def _parallel(ragged: Mapping[str, tuple[np.ndarray, np.ndarray]], name: str, leader: str) -> np.ndarray:
    values, lengths = ragged[name]
    if not np.array_equal(lengths, ragged[leader][1]):
        raise ValueError(f"lists of column {name} and of column {leader} differ in length")
    return values


def _ragged(data: pa.Table | pa.RecordBatch, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(values of all rows one after the other, length of each row) of a list column."""
    column: Any = data.column(name)
    if isinstance(column, pa.ChunkedArray):
        parts = [_ragged_array(chunk, name) for chunk in column.chunks if len(chunk)]
        if len(parts) == 1:
            return parts[0]
        if parts:
            return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
        return np.empty(0, np.float32), np.empty(0, np.int64)
    return _ragged_array(column, name)


def _ragged_array(array: pa.ListArray, name: str) -> tuple[np.ndarray, np.ndarray]:
    if len(array) == 0:
        return np.empty(0, np.float32), np.empty(0, np.int64)
    offsets = array.offsets.to_numpy()  # of the slice, into the unsliced values
    values = array.values[offsets[0]:offsets[-1]]
    if array.null_count or values.null_count:
        raise ValueError(f"column {name} has null lists or null elements; EXAMPLES allows none")
    return values.to_numpy(), np.diff(offsets).astype(np.int64)


def _tensor(values: np.ndarray, dtype: type) -> torch.Tensor:
    # a copy: Arrow's buffers are read-only and may be let go
    return torch.from_numpy(np.array(values, dtype=dtype))
