"""Losses and ranking metrics on the validation split, reduced over ranks as sums and counts.

Legend: N targets, I items, B examples, L padded length, D width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from purchasepath.models.losses import MAX_SCORES, purchase_loss, select_targets
from purchasepath.training.metrics import means, ranking_sums, target_rank
from purchasepath.training.microbatch import split_by_length

if TYPE_CHECKING:
    from purchasepath.models.build import PurchasePathModel
    from purchasepath.training.device import Device
    from purchasepath.training.feed import Feed
    from purchasepath.training.ranks import Ranks

KS = (10,)
_TOKENS_PER_PART = 4096


def validate(model: PurchasePathModel, feed: Feed, ranks: Ranks, device: Device) -> dict[str, float]:
    """item_loss, purchase_loss, recall_10, ndcg_10 and mrr_10 of the whole validation split; NaN where undefined."""
    losses_2 = torch.zeros(2, dtype=torch.float64, device=device.device)
    counts_2 = torch.zeros(2, dtype=torch.float64, device=device.device)
    metrics_M = torch.zeros(3 * len(KS), dtype=torch.float64, device=device.device)
    model.eval()
    with torch.inference_mode(), feed.batches("valid", 0) as batches:
        for batch in batches:
            for part in split_by_length(batch, _TOKENS_PER_PART):
                part = part.to(device.device, non_blocking=True)
                with device.autocast():
                    hidden_BLD = model.encode(part)
                    losses_2[1] += purchase_loss(model.purchase_logits(part, hidden_BLD), part.bought_P)
                    hidden_ND, target_N = select_targets(hidden_BLD, part.target_BL)
                    item_sum, sums_M = _rank_targets(model, hidden_ND, target_N)
                losses_2[0] += item_sum
                metrics_M += sums_M
                counts_2 += torch.tensor([target_N.shape[0], part.points], dtype=torch.float64, device=device.device)
    totals = ranks.sum_(torch.cat((losses_2, counts_2, metrics_M)).cpu())
    item_sum, purchase_sum, items, points = totals[:4].tolist()
    ranking = {name.replace("@", "_"): value for name, value in means(totals[4:], items, KS).items()}
    return {"item_loss": ratio(item_sum, items), "purchase_loss": ratio(purchase_sum, points), **ranking}


def ratio(total: float, count: float) -> float:
    return total / count if count else float("nan")


def _rank_targets(model: PurchasePathModel, hidden_ND: Tensor, target_N: Tensor) -> tuple[Tensor, Tensor]:
    """(sum of the losses, sums of the metrics), a chunk of targets at a time."""
    rows = max(1, MAX_SCORES // model.num_items)
    loss = hidden_ND.new_zeros((), dtype=torch.float64)
    sums_M = hidden_ND.new_zeros(3 * len(KS), dtype=torch.float64)
    for hidden, target in zip(hidden_ND.split(rows), target_N.split(rows), strict=True):
        scores_NI = model.item_scores(hidden).float()
        loss += functional.cross_entropy(scores_NI, target, reduction="sum")
        sums_M += ranking_sums(target_rank(scores_NI, target), KS)
    return loss, sums_M
