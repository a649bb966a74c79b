"""Padded tensors from ragged examples.

Legend: B examples, L padded length, P as-of points of the whole batch, F features.

    item  [[7, 9], [4]]   ->  item_BL  [[7, 9],      point [[1], [0]]  ->  row_P      [0, 1]
                                        [4, 0]]                            position_P [1, 0]

Padding is 0 and on the right. Everything is whole-array work; no Python per row.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
import torch

from purchasepath.datasets.rows import EVENT_COLUMNS, POINT_COLUMNS, Rows, rows_from_arrow

_EVENT_INTEGERS = sum(dtype is np.int32 for dtype in EVENT_COLUMNS.values())
"""The columns of integers come first."""


@dataclass(frozen=True)
class Batch:
    """One step's examples on one rank; it may have no rows, no points or both."""

    item_BL: torch.Tensor  # int64
    type_BL: torch.Tensor  # int64
    gap_BL: torch.Tensor  # float32
    price_BL: torch.Tensor  # float32
    target_BL: torch.Tensor  # int64, 0 where there is nothing to predict
    outcome_BL: torch.Tensor  # int64, CONTEXT … PURCHASE_FOLLOWS
    row_P: torch.Tensor  # int64, example of each point
    position_P: torch.Tensor  # int64, event of that example after which the point lies
    idle_P: torch.Tensor  # float32
    features_PF: torch.Tensor  # float32
    bought_P: torch.Tensor  # float32, 0 or 1
    churned_P: torch.Tensor  # float32, 0 or 1

    @property
    def rows(self) -> int:
        return self.item_BL.shape[0]

    @property
    def points(self) -> int:
        return self.row_P.shape[0]

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The same batch on `device`."""
        return Batch(**{f.name: getattr(self, f.name).to(device, non_blocking=non_blocking) for f in fields(self)})


def batch_from_rows(rows: Rows) -> Batch:
    """One batch of all examples, in their order; L is the longest one's length, at least 1."""
    events = dict(zip(EVENT_COLUMNS, _padded(rows), strict=True))
    points = dict(zip(POINT_COLUMNS, rows.points_CP, strict=True))
    return Batch(
        **{f"{name}_BL": values for name, values in events.items()},
        row_P=torch.from_numpy(np.repeat(np.arange(rows.rows), rows.count_B)),
        position_P=torch.from_numpy(points["point"].astype(np.int64)),
        idle_P=torch.from_numpy(points["idle"].view(np.float32).copy()),
        features_PF=torch.from_numpy(rows.features_PF.copy()),  # Arrow's memory is read-only and may be let go
        bought_P=torch.from_numpy(points["bought"].astype(np.float32)),
        churned_P=torch.from_numpy(points["churned"].astype(np.float32)),
    )


def batch_from_arrow(data: pa.Table | pa.RecordBatch, num_features: int | None = None) -> Batch:
    """One batch of all rows of `data`; see `rows_from_arrow` for what it has to be."""
    return batch_from_rows(rows_from_arrow(data, num_features))


def _padded(rows: Rows) -> list[torch.Tensor]:
    """A B x L tensor of each event column; integers as int64, floats as float32."""
    length = max(1, int(rows.length_B.max(initial=0)))
    real_BL = np.arange(length) < rows.length_B[:, None]
    grid_CBL: np.ndarray = np.zeros((len(EVENT_COLUMNS), rows.rows, length), np.int32)
    for grid_BL, values_N in zip(grid_CBL, rows.events_CN, strict=True):
        grid_BL[real_BL] = values_N
    integers, floats = grid_CBL[:_EVENT_INTEGERS].astype(np.int64), grid_CBL[_EVENT_INTEGERS:].view(np.float32)
    return [torch.from_numpy(grid_BL) for grid_BL in (*integers, *floats)]
