"""Losses and ranking metrics on the validation split, reduced over ranks as sums and counts.

Legend: N targets, I items, B examples, L padded length, D width, Q tasks, M metrics.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from purchasepath.models.losses import MAX_SCORES, select_targets
from purchasepath.training.metrics import means, ranking_sums, target_rank
from purchasepath.training.microbatch import split_by_length

if TYPE_CHECKING:
    from purchasepath.models.build import PurchasePathModel
    from purchasepath.training.device import Device
    from purchasepath.training.feed import Feed
    from purchasepath.training.ranks import Ranks

Validation = Callable[["PurchasePathModel", "Feed", "Ranks", "Device"], dict[str, float]]
"""What an epoch is judged by: losses and ranking metrics, the same on every rank."""

KS = (10,)
_TOKENS_PER_PART = 4096


def validate(model: PurchasePathModel, feed: Feed, ranks: Ranks, device: Device) -> dict[str, float]:
    """`<task>_loss` of each of the model's tasks, over the validation split; NaN where undefined.

    For items also recall_10, ndcg_10 and mrr_10.
    """
    size = len(model.tasks)
    losses_Q = torch.zeros(size, dtype=torch.float64, device=device.device)
    counts_Q = torch.zeros(size, dtype=torch.float64, device=device.device)
    metrics_M = torch.zeros(3 * len(KS), dtype=torch.float64, device=device.device)
    model.eval()
    with torch.inference_mode(), model.held_items(), feed.batches("valid", 0) as batches:
        for rows in batches:
            for part in split_by_length(rows, _TOKENS_PER_PART):
                part = part.to(device.device, non_blocking=True)
                with device.autocast():
                    hidden_BLD = model.encode(part)
                    for place, task in enumerate(model.tasks):
                        if task == "item":
                            hidden_ND, asked = select_targets(hidden_BLD, part.target_BL)
                            loss, sums_M = _rank_targets(model, hidden_ND, asked)
                            metrics_M += sums_M
                        else:
                            logits, asked = model.ask(task, part, hidden_BLD)
                            loss = model.loss_sum(task, logits, asked)
                        losses_Q[place] += loss
                        counts_Q[place] += asked.shape[0]
    totals = ranks.sum_(torch.cat((losses_Q, counts_Q, metrics_M)).cpu()).tolist()
    counts = dict(zip(model.tasks, totals[size : 2 * size], strict=True))
    losses = {f"{q}_loss": ratio(loss, counts[q]) for q, loss in zip(model.tasks, totals[:size], strict=True)}
    if "item" not in counts:
        return losses
    ranking = means(torch.tensor(totals[2 * size :]), counts["item"], KS)
    return losses | {name.replace("@", "_"): value for name, value in ranking.items()}


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
