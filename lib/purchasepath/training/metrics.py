"""Ranking metrics as sums: add them over batches and ranks, then divide by the number of targets.

Legend: N targets, I items (special ids included), M metrics.

Protocol: the whole catalogue is ranked, nothing is filtered, and ties count against us.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

PROTOCOL = "full catalogue, nothing filtered, ties count against the model"


def target_rank(scores_NI: Tensor, target_N: Tensor) -> Tensor:
    """rank_N: 1 + the number of other items that score at least as high as the target.

    A score that is not a number counts as higher, so a broken model cannot look good.
    """
    score_N1 = scores_NI.gather(1, target_N.unsqueeze(1))
    return (~(scores_NI < score_N1)).sum(dim=1)


def metric_names(ks: Sequence[int]) -> tuple[str, ...]:
    """Names in the order of `ranking_sums`: recall@k, ndcg@k and mrr@k for each k."""
    return tuple(f"{metric}@{k}" for k in ks for metric in ("recall", "ndcg", "mrr"))


def ranking_sums(rank_N: Tensor, ks: Sequence[int]) -> Tensor:
    """sums_M (float64): each metric summed over the targets.

    One target each: recall@k is 1 within the first k, ndcg@k there is 1 / log2(1 + rank), mrr@k is 1 / rank.
    """
    rank_N = rank_N.double()
    sums = []
    for k in ks:
        hit_N = rank_N <= k
        sums += [hit_N.double().sum(), (hit_N / torch.log2(1 + rank_N)).sum(), (hit_N / rank_N).sum()]
    return torch.stack(sums) if sums else rank_N.new_zeros(0)


def means(sums_M: Tensor, count: float, ks: Sequence[int]) -> dict[str, float]:
    """Each metric's mean by name; NaN where there was no target."""
    return {
        name: (total / count if count else float("nan"))
        for name, total in zip(metric_names(ks), sums_M.tolist(), strict=True)
    }
