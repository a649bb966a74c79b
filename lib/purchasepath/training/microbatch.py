"""A batch cut into parts of similar length, so that little padding is computed on.

Legend: B examples, L padded length, P as-of points.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from purchasepath.datasets.batch import Batch


def split_by_length(batch: Batch, rows_per_part: int) -> Iterator[Batch]:
    """The batch's examples, shortest first, in parts of at most `rows_per_part`, each cut to its longest example.

    Gradients of the parts add up to the batch's: losses are sums. Empty batches give no part.
    """
    if batch.rows == 0:
        return
    length_B = (batch.type_BL != 0).sum(dim=1)
    if batch.rows <= rows_per_part:
        yield _cut(batch, int(length_B.max()))
        return
    order_B = torch.argsort(length_B, stable=True)
    place_B = torch.empty_like(order_B)
    place_B[order_B] = torch.arange(batch.rows, device=order_B.device)
    place_P = place_B[batch.row_P]
    for start in range(0, batch.rows, rows_per_part):
        rows = order_B[start : start + rows_per_part]
        yield _part(batch, rows, place_P - start, max(1, int(length_B[rows[-1]])))


def _part(batch: Batch, rows: torch.Tensor, place_P: torch.Tensor, length: int) -> Batch:
    mine_P = ((place_P >= 0) & (place_P < rows.shape[0])).nonzero().squeeze(1)
    return replace(
        batch,
        item_BL=batch.item_BL[rows, :length],
        type_BL=batch.type_BL[rows, :length],
        gap_BL=batch.gap_BL[rows, :length],
        price_BL=batch.price_BL[rows, :length],
        target_BL=batch.target_BL[rows, :length],
        row_P=place_P[mine_P],
        position_P=batch.position_P[mine_P],
        idle_P=batch.idle_P[mine_P],
        features_PF=batch.features_PF[mine_P],
        bought_P=batch.bought_P[mine_P],
    )


def _cut(batch: Batch, length: int) -> Batch:
    length = max(1, length)
    return replace(
        batch,
        item_BL=batch.item_BL[:, :length],
        type_BL=batch.type_BL[:, :length],
        gap_BL=batch.gap_BL[:, :length],
        price_BL=batch.price_BL[:, :length],
        target_BL=batch.target_BL[:, :length],
    )
