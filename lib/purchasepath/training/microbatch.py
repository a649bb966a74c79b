"""A batch cut into parts of similar length, so that little padding is computed on.

Legend: B examples, L padded length, P as-of points.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from purchasepath.datasets.batch import Batch

LIKE = 0.5
"""Every part costs some 100 small kernels forth and back; with a share nearer to 1 they outweigh the padding saved."""


def split_by_length(batch: Batch, tokens_per_part: int) -> Iterator[Batch]:
    """The batch's examples, longest first, in parts of like length, each cut to its longest example.

    A part holds at most `tokens_per_part` padded tokens (one example may be longer) and no example shorter than
    `LIKE` of its longest. Gradients of the parts add up to the batch's: losses are sums. Empty batches give no part.
    """
    if batch.rows == 0:
        return
    rising_B, order_B = torch.sort((batch.type_BL != 0).sum(dim=1), stable=True)
    place_B = torch.empty_like(order_B)
    place_B[order_B] = torch.arange(batch.rows, device=order_B.device)
    place_P = place_B[batch.row_P]
    for start, end, length in cut_by_length(rising_B.tolist(), tokens_per_part):
        yield _part(batch, order_B[start:end], place_P - start, length)


def cut_by_length(rising: Sequence[int], tokens_per_part: int) -> Iterator[tuple[int, int, int]]:
    """(start, end, longest) of the parts of rising lengths, the last part first."""
    end = len(rising)
    while end > 0:
        longest = max(1, rising[end - 1])
        start = max(0, end - max(1, tokens_per_part // longest), bisect_left(rising, longest * LIKE))
        yield start, end, longest
        end = start


def _part(batch: Batch, rows: torch.Tensor, place_P: torch.Tensor, length: int) -> Batch:
    mine_P = ((place_P >= 0) & (place_P < rows.shape[0])).nonzero().squeeze(1)
    return replace(
        batch,
        item_BL=batch.item_BL[rows, :length],
        type_BL=batch.type_BL[rows, :length],
        gap_BL=batch.gap_BL[rows, :length],
        price_BL=batch.price_BL[rows, :length],
        target_BL=batch.target_BL[rows, :length],
        outcome_BL=batch.outcome_BL[rows, :length],
        row_P=place_P[mine_P],
        position_P=batch.position_P[mine_P],
        idle_P=batch.idle_P[mine_P],
        features_PF=batch.features_PF[mine_P],
        bought_P=batch.bought_P[mine_P],
        churned_P=batch.churned_P[mine_P],
    )
