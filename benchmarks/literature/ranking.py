"""Metrics of a model's answers to a published test.

Legend: N questions, D width, I items (special ids included).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.literature.feed import make_rows
from benchmarks.literature.sets import PublishedSet, Question, last_of
from purchasepath.datasets.batch import batch_from_rows
from purchasepath.models.build import PurchasePathModel
from purchasepath.training.metrics import means, ranking_sums, target_rank

KS = (5, 10, 20)
_AT_ONCE = 256


@torch.inference_mode()
def answer(model: PurchasePathModel, published: PublishedSet) -> dict[str, float]:
    """recall@k, ndcg@k and mrr@k over the test's questions."""
    model.eval()
    sums_M = torch.zeros(3 * len(KS), dtype=torch.float64)
    for questions in _parts(published.test):
        scores_NI = model.item_scores(_last_hidden(model, questions))
        target_N = torch.tensor([question.target for question in questions])
        if published.filter_seen:
            row, seen = _seen(questions)
            scores_NI[row, seen] = -torch.inf
        # a target that was filtered scores -inf as many others do: they tie, so it counts as a miss
        sums_M += ranking_sums(target_rank(scores_NI, target_N), KS)
    return means(sums_M, len(published.test), KS)


def _parts(questions: Sequence[Question]) -> Iterator[list[Question]]:
    """Questions of similar length together."""
    ordered = sorted(questions, key=lambda question: len(question.history))
    for start in range(0, len(ordered), _AT_ONCE):
        yield ordered[start : start + _AT_ONCE]


def _last_hidden(model: PurchasePathModel, questions: Sequence[Question]) -> Tensor:
    """hidden_ND after each question's last item."""
    examples = [last_of(question, model.max_length) for question in questions]
    hidden_BLD = model.encode(batch_from_rows(make_rows(examples)))
    return hidden_BLD[torch.arange(len(examples)), torch.tensor([len(example.items) - 1 for example in examples])]


def _seen(questions: Sequence[Question]) -> tuple[Tensor, Tensor]:
    """(row, item) of every item of every history."""
    rows = np.repeat(np.arange(len(questions)), [len(question.history) for question in questions])
    return torch.from_numpy(rows), torch.from_numpy(np.concatenate([question.history for question in questions]))
