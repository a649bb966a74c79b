"""Padded tensors from ragged examples.

Legend: B examples, L padded length, P as-of points of the whole batch, F features, T labels.

    item  [[7, 9], [4]]   ->  item_BL  [[7, 9],      point [[1], [0]]  ->  row_P      [0, 1]
                                        [4, 0]]                            position_P [1, 0]

Padding is 0 and on the right. Everything is whole-array work; no Python per row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import pyarrow as pa
import torch

from purchasepath.datasets.rows import EVENT_COLUMNS, EVENT_INPUTS, POINT_COLUMNS, Rows, rows_from_arrow


@dataclass(frozen=True)
class Inputs:
    """What a model reads of a step's examples on one rank; there may be no rows, no points or neither."""

    item_BL: torch.Tensor  # int64
    type_BL: torch.Tensor  # int64
    gap_BL: torch.Tensor  # float32
    price_BL: torch.Tensor  # float32
    row_P: torch.Tensor  # int64, example of each point
    position_P: torch.Tensor  # int64, event of that example after which the point lies
    idle_P: torch.Tensor  # float32
    features_PF: torch.Tensor  # float32

    @property
    def rows(self) -> int:
        return self.item_BL.shape[0]

    @property
    def points(self) -> int:
        return self.row_P.shape[0]

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """The same on `device`."""
        return type(self)(**{f.name: getattr(self, f.name).to(device, non_blocking=non_blocking) for f in fields(self)})


@dataclass(frozen=True)
class Batch(Inputs):
    """The same, and the right answers."""

    target_BL: torch.Tensor  # int64, 0 where there is nothing to predict
    outcome_BL: torch.Tensor  # int64, CONTEXT … PURCHASE_FOLLOWS
    labels_PT: torch.Tensor  # float32, NaN where a task is not asked


def inputs_from_rows(rows: Rows) -> Inputs:
    """What a model reads of all examples, in their order; L is the longest one's length, at least 1."""
    return Inputs(**_input_tensors(rows, _padded(rows, EVENT_INPUTS)))


def batch_from_rows(rows: Rows) -> Batch:
    """One batch of all examples, in their order; L is the longest one's length, at least 1."""
    padded = _padded(rows, EVENT_COLUMNS)
    return Batch(**_input_tensors(rows, padded), target_BL=padded["target"], outcome_BL=padded["outcome"],
                 labels_PT=torch.from_numpy(rows.labels_PT.copy()))


def inputs_from_arrow(data: pa.Table | pa.RecordBatch, num_features: int) -> Inputs:
    """Of all rows of `data`; see `rows_from_arrow` for what it has to be."""
    return inputs_from_rows(rows_from_arrow(data, num_features))


def batch_from_arrow(data: pa.Table | pa.RecordBatch, num_features: int, num_labels: int) -> Batch:
    """One batch of all rows of `data`; see `rows_from_arrow` for what it has to be."""
    return batch_from_rows(rows_from_arrow(data, num_features, num_labels))


def _input_tensors(rows: Rows, padded: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    points = dict(zip(POINT_COLUMNS, rows.points_CP, strict=True))
    return {
        **{f"{name}_BL": padded[name] for name in EVENT_INPUTS},
        "row_P": torch.from_numpy(np.repeat(np.arange(rows.rows), rows.count_B)),
        "position_P": torch.from_numpy(points["point"].astype(np.int64)),
        "idle_P": torch.from_numpy(points["idle"].view(np.float32).copy()),
        "features_PF": torch.from_numpy(rows.features_PF.copy()),  # Arrow's memory is read-only and may be let go
    }


def _padded(rows: Rows, columns: Mapping[str, type[np.generic]]) -> dict[str, torch.Tensor]:
    """A B x L tensor of each of the first event columns; integers as int64, floats as float32."""
    length = max(1, int(rows.length_B.max(initial=0)))
    real_BL = np.arange(length) < rows.length_B[:, None]
    grid_CBL: np.ndarray = np.zeros((len(columns), rows.rows, length), np.int32)
    for grid_BL, values_N in zip(grid_CBL, rows.events_CN, strict=False):
        grid_BL[real_BL] = values_N
    return {
        name: torch.from_numpy(grid_BL.astype(np.int64) if dtype is np.int32 else grid_BL.view(dtype))
        for (name, dtype), grid_BL in zip(columns.items(), grid_CBL, strict=True)
    }
