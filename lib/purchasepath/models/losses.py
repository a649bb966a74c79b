"""Losses as sums and counts, so that ranks can add them up before anybody divides.

Legend: B examples, L padded length, D width, N target positions, I items, P as-of points.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from purchasepath.models.heads import NUM_SPECIAL_ITEMS

if TYPE_CHECKING:
    from purchasepath.models.build import PurchasePathModel

MAX_SCORES = 1 << 26
"""Scores held at once (256 MB in float32); more target positions are scored in chunks, recomputed on the way back."""


def select_targets(hidden_BLD: Tensor, target_BL: Tensor) -> tuple[Tensor, Tensor]:
    """(hidden_ND, target_N) of the positions whose next event has a known item."""
    known_BL = target_BL >= NUM_SPECIAL_ITEMS
    return hidden_BLD[known_BL], target_BL[known_BL]


def next_item_loss(model: PurchasePathModel, hidden_ND: Tensor, target_N: Tensor) -> Tensor:
    """Sum over N of -log softmax(scores over the whole catalogue)[target]."""
    rows = max(1, MAX_SCORES // model.num_items)
    if target_N.shape[0] <= rows:
        return _cross_entropy(model, hidden_ND, target_N)
    parts = [
        checkpoint(_cross_entropy, model, hidden, target, use_reentrant=False)
        for hidden, target in zip(hidden_ND.split(rows), target_N.split(rows), strict=True)
    ]
    return torch.stack(parts).sum()


def purchase_loss(logit_P: Tensor, bought_P: Tensor) -> Tensor:
    """Sum over P of the binary cross entropy."""
    return functional.binary_cross_entropy_with_logits(logit_P.float(), bought_P, reduction="sum")


def _cross_entropy(model: PurchasePathModel, hidden_ND: Tensor, target_N: Tensor) -> Tensor:
    return functional.cross_entropy(model.item_scores(hidden_ND).float(), target_N, reduction="sum")
