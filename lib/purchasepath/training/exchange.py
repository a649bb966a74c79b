"""What ranks tell each other at a step: its gradient, and beforehand what they need to know of the step that follows.

Looking items up, and telling targets from a few drawn items, leaves most rows of the item tables without a gradient.
Ranks then agree on the rows that any of them touches, and add up these alone.

Legend: Q tasks of the model, N places, K drawn items, I items, D width, R items that a step touches.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from purchasepath.models.heads import NUM_SPECIAL_ITEMS

if TYPE_CHECKING:
    from purchasepath.datasets.rows import Rows
    from purchasepath.models.build import PurchasePathModel
    from purchasepath.training.optimizer import FlatModel
    from purchasepath.training.ranks import Ranks


class Exchange:
    """Adds up the gradients in `flat` over the ranks; afterwards they are the same, to the bit, on all of them.

    `by_rows`: only items that a rank looked up, or drew, have a gradient. Ranks wait for each other once a step: what
    they need to know of the next one goes along with the gradients.
    """

    def __init__(self, model: PurchasePathModel, flat: FlatModel, ranks: Ranks, *, by_rows: bool) -> None:
        self.flat, self.ranks, self.model, self.num_items = flat, ranks, model, model.num_items
        places = [place for weight, place in flat.places if any(weight is table for table in model.item_weights())]
        self.tables = [flat.gradients_W[place].view(model.num_items, -1) for place in places]
        edges = [0, *(edge for place in places for edge in (place.start, place.stop)), len(flat.sent)]
        self.others = [flat.sent[start:stop] for start, stop in list(pairwise(edges))[::2]]
        self.by_rows = by_rows and ranks.size > 1 and bool(places)
        self.totals_Q: Tensor | None = None  # of the coming step; None: not exchanged yet
        self.item_R = torch.zeros(0, dtype=torch.int32)

    def totals(self, rows: Rows) -> Tensor:
        """The places of the step's examples, over all ranks, where each task is asked."""
        if self.totals_Q is None:
            self.totals_Q = self.ranks.sum_(count_places(rows, self.model)).to(self.flat.counts_Q)
            self._gather_items(rows)
        return self.totals_Q

    def sum_(self, negative_K: Tensor | None, following: Rows | None) -> None:
        """Replaces the gradients of a step, for which `negative_K` were drawn, by their sums."""
        if following is not None:
            self.flat.counts_Q.copy_(count_places(following, self.model))
        if self.by_rows and len(touched_R := self._touched(negative_K)) < self.num_items:
            self._sum_rows(touched_R.to(self.flat.sent.device))
        else:
            self.ranks.sum_(self.flat.sent)
        self.totals_Q = None
        if following is not None:
            self.totals_Q = self.flat.counts_Q.clone()
            self._gather_items(following)

    def _touched(self, negative_K: Tensor | None) -> Tensor:
        return self.item_R if negative_K is None else torch.cat((self.item_R, negative_K)).unique()

    def _sum_rows(self, item_R: Tensor) -> None:
        """Everything beside the item tables, and of these the given rows: the other rows are 0 on every rank."""
        sent = [*self.others, *(table_ID[item_R].flatten() for table_ID in self.tables)]
        sums = self.ranks.sum_(torch.cat(sent)).split([len(part) for part in sent])
        for part, total in zip(self.others, sums, strict=False):
            part.copy_(total)
        for table_ID, total in zip(self.tables, sums[len(self.others) :], strict=True):
            table_ID[item_R] = total.view(len(item_R), table_ID.shape[1])

    def _gather_items(self, rows: Rows) -> None:
        if self.by_rows:
            self.item_R = self.ranks.gather(items_of(rows)).unique()


def count_places(rows: Rows, model: PurchasePathModel) -> Tensor:
    """The places of these examples where each of the model's tasks is asked."""
    return torch.tensor([
        int((rows.event("target") >= NUM_SPECIAL_ITEMS).sum()) if task == "item" else model.asked[task].count(rows)
        for task in model.tasks
    ], dtype=torch.float64)


def items_of(rows: Rows) -> Tensor:
    """The items that the model looks up for these examples: padding (0), inputs and targets; rising, each once."""
    return torch.from_numpy(np.unique(np.concatenate(([0], rows.event("item"), rows.event("target"))))).int()
