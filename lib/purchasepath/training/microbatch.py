"""A batch cut into parts of similar length, so that little padding is computed on.

Legend: B examples, L padded length, P as-of points.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from purchasepath.datasets.batch import Batch

PART_TOKENS = 245
"""A part costs as much as so many padded events: some 100 small kernels forth and back (docs/experiments.md)."""


def split_by_length(batch: Batch, tokens_per_part: int) -> Iterator[Batch]:
    """The batch's examples, longest first, in the parts of `cut_by_length`, each cut to its longest example.

    Gradients of the parts add up to the batch's: losses are sums. Empty batches give no part.
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
    """(start, end, longest) of the parts of rising lengths, the last part first.

    A part holds at most `tokens_per_part` padded events (one example may be longer). Neighbouring lengths are grouped,
    and groups cut into full parts, so that padded events and parts (`PART_TOKENS` each) cost least; the best grouping
    is found length by length, as shortest paths are.
    """
    lengths, begins = np.unique(np.maximum(rising, 1), return_index=True)
    ends = np.append(begins, len(rising))
    fitting = np.maximum(1, tokens_per_part // lengths)
    costs, cut_at = np.zeros(len(ends)), np.zeros(len(ends), np.int64)
    for last in range(1, len(ends)):  # examples of the first `last` lengths
        rows = ends[last] - ends[:last]
        parts = -(-rows // fitting[last - 1])
        cost = costs[:last] + rows * lengths[last - 1] + parts * PART_TOKENS
        cut_at[last] = cost.argmin()
        costs[last] = cost[cut_at[last]]
    last = len(lengths)
    while last:
        start, end, most = int(ends[cut_at[last]]), int(ends[last]), int(fitting[last - 1])
        while end > start:
            first = max(start, end - most)
            yield first, end, max(1, rising[end - 1])
            end = first
        last = int(cut_at[last])


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
