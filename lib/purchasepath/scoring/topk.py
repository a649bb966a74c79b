"""Exact top-k of many users against many items, block by block.

Shapes: N users, I items, B items of one block, C candidates of one block, E excluded items, K kept items.
Memory is one N x B block of scores plus N x (K + E) candidates, whatever the catalogue's size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

NO_ITEM = -1
"""Item of a slot that nothing filled: fewer than k items could be recommended."""


def top_k(
    block_scores: Callable[[int, int], Tensor],
    num_items: int,
    k: int,
    *,
    excluded_NE: Tensor | None = None,
    item_block: int = 65_536,
) -> tuple[Tensor, Tensor]:
    """Scores and items of each user's k best items, best first; equal scores by smaller item id.

    `block_scores(first, last)` gives scores_NB of the items first..last-1. An item scored -inf is never
    recommended. `excluded_NE` holds item ids to leave out, in any order, padded with `NO_ITEM`.
    Both results are N x min(k, I); slots that nothing fills hold -inf and `NO_ITEM`.

    Excluded items are filtered on candidates: of each block the best k + E are taken, so that at least k
    of them are not excluded, and merged into the running best k.
    """
    if k < 1 or num_items < 1:
        raise ValueError(f"expected k >= 1 and num_items >= 1, found k={k}, num_items={num_items}")
    barred_NE = _sorted_for_search(excluded_NE, num_items)
    best: tuple[Tensor, Tensor] | None = None
    for first in range(0, num_items, item_block):
        scores_NB = block_scores(first, min(first + item_block, num_items)).float()
        scores_NC, items_NC = _block_candidates(scores_NB, k + (0 if barred_NE is None else barred_NE.shape[1]))
        items_NC = items_NC + first
        if barred_NE is not None:
            scores_NC = scores_NC.masked_fill(_contains(barred_NE, items_NC), -torch.inf)
        if best is not None:  # blocks come by rising item id, so a stable sort keeps smaller ids first
            scores_NC = torch.cat([best[0], scores_NC], dim=1)
            items_NC = torch.cat([best[1], items_NC], dim=1)
        best = _best_first(scores_NC, items_NC, min(k, num_items))
    assert best is not None
    scores_NK, items_NK = best
    return scores_NK, items_NK.masked_fill(scores_NK == -torch.inf, NO_ITEM)


def pad_lists(offsets: np.ndarray, values: np.ndarray, fill: int = NO_ITEM) -> Tensor:
    """Ragged rows `values[offsets[i]:offsets[i + 1]]` as one int64 tensor, right-padded with `fill`."""
    lengths_N = np.diff(offsets)
    width = int(lengths_N.max(initial=0))
    padded_NE = np.full((len(lengths_N), width), fill, dtype=np.int64)
    padded_NE[np.arange(width) < lengths_N[:, None]] = values[offsets[0]:offsets[-1]]
    return torch.from_numpy(padded_NE)


def _block_candidates(scores_NB: Tensor, wanted: int) -> tuple[Tensor, Tensor]:
    """The `wanted` best of one block (or all of it), equal scores by smaller column, best first.

    `torch.topk` picks arbitrarily among scores equal to the last one it takes. One candidate more shows in
    which rows that can happen; only those rows, rare with a trained model, are sorted as a whole.
    """
    width = scores_NB.shape[1]
    if wanted >= width:
        columns_NB = torch.arange(width, device=scores_NB.device).expand_as(scores_NB)
        return _best_first(scores_NB, columns_NB, width)
    scores_NC, columns_NC = scores_NB.topk(wanted + 1, dim=1)
    last_N = scores_NC[:, wanted - 1]
    tied = ((last_N == scores_NC[:, wanted]) & (last_N != -torch.inf)).nonzero().squeeze(1)
    columns_NC, by_column = columns_NC[:, :wanted].sort(dim=1)
    scores_NC, columns_NC = _best_first(scores_NC[:, :wanted].gather(1, by_column), columns_NC, wanted)
    if len(tied):
        sorted_TB = scores_NB[tied].sort(dim=1, descending=True, stable=True)
        scores_NC[tied] = sorted_TB.values[:, :wanted]
        columns_NC[tied] = sorted_TB.indices[:, :wanted]
    return scores_NC, columns_NC


def _best_first(scores_NC: Tensor, items_NC: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """The `kept` best by falling score; equal scores keep the order they came in."""
    ordered = scores_NC.sort(dim=1, descending=True, stable=True)
    return ordered.values[:, :kept], items_NC.gather(1, ordered.indices[:, :kept])


def _sorted_for_search(excluded_NE: Tensor | None, num_items: int) -> Tensor | None:
    """Excluded ids in rising order per row, the padding behind every item id; None if there are none."""
    if excluded_NE is None or excluded_NE.shape[1] == 0:
        return None
    return excluded_NE.masked_fill(excluded_NE < 0, num_items).sort(dim=1).values.contiguous()


def _contains(sorted_NE: Tensor, items_NC: Tensor) -> Tensor:
    """Whether each candidate is among its own row's sorted ids."""
    place_NC = torch.searchsorted(sorted_NE, items_NC.contiguous()).clamp_(max=sorted_NE.shape[1] - 1)
    return sorted_NE.gather(1, place_NC) == items_NC
