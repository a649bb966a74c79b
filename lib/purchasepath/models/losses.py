"""The next item's loss, as a sum: ranks add up sums and counts before anybody divides.

Legend: B examples, L padded length, D width, N target positions, I items, K drawn items.
"""

from __future__ import annotations

import math
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


def draw_negatives(num_items: int, count: int, generator: torch.Generator) -> Tensor:
    """item_K: `count` items in rising order, or all of them where there are no more.

    One is drawn uniformly from each of `count` equal strata of the ids, so every item comes count / items times in
    the mean, hardly any comes twice, and a draw spreads over the ids, which vocabularies order.
    """
    known = num_items - NUM_SPECIAL_ITEMS
    count = min(count, known)
    place_K = (torch.arange(count) + torch.rand(count, generator=generator, dtype=torch.float64)) * (known / count)
    return NUM_SPECIAL_ITEMS + place_K.long().clamp_(max=known - 1)


def next_item_loss(
    model: PurchasePathModel, hidden_ND: Tensor, target_N: Tensor, negative_K: Tensor | None = None
) -> Tensor:
    """Sum over N of -log softmax(scores)[target].

    The softmax is over all items with a history or, given `negative_K` of `draw_negatives`, estimated from these items.
    """
    columns = model.num_known if negative_K is None else negative_K.shape[0]
    rows = max(1, MAX_SCORES // columns)
    if target_N.shape[0] <= rows:
        return _item_loss(model, hidden_ND, target_N, negative_K)
    parts = [
        checkpoint(_item_loss, model, hidden, target, negative_K, use_reentrant=False)
        for hidden, target in zip(hidden_ND.split(rows), target_N.split(rows), strict=True)
    ]
    return torch.stack(parts).sum()


def _item_loss(model: PurchasePathModel, hidden_ND: Tensor, target_N: Tensor, negative_K: Tensor | None) -> Tensor:
    if negative_K is None:
        return functional.cross_entropy(
            model.item_scores(hidden_ND, stop=model.num_known).float(), target_N, reduction="sum")
    return _sampled_cross_entropy(model, hidden_ND, target_N, negative_K)


def _sampled_cross_entropy(
    model: PurchasePathModel, hidden_ND: Tensor, target_N: Tensor, negative_K: Tensor
) -> Tensor:
    """log(exp(target) + sum over the other items of exp(score)) - target, the sum estimated from the drawn ones.

    Each drawn score counts items / drawn times: dividing by the chance of being drawn makes the estimate of the sum
    unbiased. The target was not drawn but given, so its own score is taken as it is, and a draw of it is left out.
    With all items drawn this is the full softmax.
    """
    drawn_share = negative_K.shape[0] / (model.num_known - NUM_SPECIAL_ITEMS)
    score_NK = model.scores_of(hidden_ND, negative_K).float() - math.log(drawn_share)
    target_score_N = model.score_of_each(hidden_ND, target_N).float()
    # the lowest finite number: a row of -inf alone would have no gradient
    others_NK = score_NK.masked_fill(negative_K == target_N.unsqueeze(1), torch.finfo(score_NK.dtype).min)
    return functional.softplus(others_NK.logsumexp(dim=1) - target_score_N).sum()
