"""The sequence model: an encoder over a user's events, the next item, and a head for every further task.

Legend: B examples, L padded length, D width, N rows to score, I items (special ids included), K some items.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from purchasepath.models.encoders import ENCODERS
from purchasepath.models.events import Asks, EventEmbedding
from purchasepath.models.heads import CalibratedHead, NextItemHead, PointHead
from purchasepath.models.items import initialise
from purchasepath.models.kinds import ANSWERS
from purchasepath.models.tasks import Asked, AtPoints, asked_of
from purchasepath.tables.tasks import LABEL_NAMES, TASK, TASKS

if TYPE_CHECKING:
    from purchasepath.config import Model
    from purchasepath.datasets.batch import Batch, Inputs


class PurchasePathModel(nn.Module):
    """One encoder, several heads. `encode` once, then ask.

    `tasks` are those it learns, in the order of their declaration. Items can be scored in any case; while it learns,
    targets are told from items with a history, whose ids are below `num_known` (all, where not given). The labels of
    batches to learn from lie as `label_names` says.
    """

    def __init__(
        self, config: Model, *, num_items: int, num_types: int, num_features: int, max_length: int,
        label_names: Sequence[str] = LABEL_NAMES, num_known: int | None = None,
    ) -> None:
        super().__init__()
        self.max_length = max_length
        self.num_items = num_items
        self.num_known = num_items if num_known is None else num_known
        embedding = EventEmbedding(config, num_items=num_items, num_types=num_types, max_length=max_length)
        self.encoder = ENCODERS[config.encoder](config, embedding)
        self.next_item = NextItemHead(num_items)
        self.tasks = tuple(task.name for task in TASKS if task.name in config.tasks)
        self.asked: dict[str, Asked] = {name: asked_of(name, label_names) for name in self.tasks if name != "item"}
        self.heads = nn.ModuleDict({
            name: asked.head(config, num_types=num_types, num_features=num_features)
            for name, asked in self.asked.items()
        })

    def encode(self, batch: Batch) -> Tensor:
        """hidden_BLD: what the model knows right after each event.

        Rows mean something where the batch asks one of the model's tasks.
        """
        return self.encoder(batch, self._asks(batch)) if self.encoder.reads_both_ways else self.encoder(batch)

    def encode_points(self, inputs: Inputs) -> Tensor:
        """hidden_BLD, of which the rows at the inputs' as-of points mean something."""
        asks = Asks.at_points(inputs) if self.encoder.reads_both_ways else None
        return self.encoder(inputs, asks)

    def _asks(self, batch: Batch) -> Asks:
        others_BL = torch.zeros_like(batch.target_BL, dtype=torch.bool)
        for asked in self.asked.values():
            others_BL |= asked.asked(batch)
        return Asks((batch.target_BL > 0) & ("item" in self.tasks), others_BL)

    def item_scores(self, hidden_ND: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """scores_NI of the items `start … stop - 1` (all by default) as the next item; special ids are -inf."""
        return self.next_item(hidden_ND, self.encoder.embedding.item.rows(start, stop), start)

    def scores_of(self, hidden_ND: Tensor, item_K: Tensor) -> Tensor:
        """scores_NK of the given items."""
        return functional.linear(hidden_ND, self.encoder.embedding.item(item_K), self.next_item.bias[item_K])

    def score_of_each(self, hidden_ND: Tensor, item_N: Tensor) -> Tensor:
        """score_N of one item for each row."""
        return (hidden_ND * self.encoder.embedding.item(item_N)).sum(dim=1) + self.next_item.bias[item_N]

    def held_items(self) -> AbstractContextManager[None]:
        """Within, the vectors of all items are computed once, however often they are asked for."""
        return self.encoder.embedding.item.held()

    def item_weights(self) -> tuple[Tensor, Tensor]:
        """The weights with a row for each item; `encode`, `scores_of` and `score_of_each` read rows of given items."""
        return self.encoder.embedding.item.weight, self.next_item.bias

    def ask(self, task: str, batch: Batch, hidden_BLD: Tensor) -> tuple[Tensor, Tensor]:
        """The logits at the places of the batch where it is asked, and the right answers there."""
        return self.asked[task].ask(self.heads[task], batch, hidden_BLD)

    def loss_sum(self, task: str, logits: Tensor, answer_N: Tensor) -> Tensor:
        return ANSWERS[TASK[task].kind].loss_sum(logits, answer_N)

    def predict(self, task: str, inputs: Inputs, hidden_BLD: Tensor) -> Tensor:
        """answer_P of a task at as-of points, calibrated: a probability of yes, an expected amount or count."""
        asked = self.asked[task]
        assert isinstance(asked, AtPoints), f"{task} is not asked at as-of points"
        return self.answer(task, asked.logits(self.heads[task], inputs, hidden_BLD))

    def answer(self, task: str, logits: Tensor, *, calibrated: bool = True) -> Tensor:
        """answer_N: a probability of yes, an expected amount or count, or a class."""
        head = self.heads[task]
        scale_shift = head.calibration if calibrated and isinstance(head, CalibratedHead) else logits.new_tensor([1, 0])
        return ANSWERS[TASK[task].kind].answer(logits, scale_shift)

    def train(self, mode: bool = True) -> PurchasePathModel:
        """As of any module, but an encoder that learns nothing answers as it will when it is asked: without dropout."""
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.encoder.parameters()):
            self.encoder.eval()
        return self

    def forward(self, batch: Batch) -> Tensor:
        return self.encode(batch)


def build_model(
    config: Model, *, num_items: int, num_types: int, num_features: int, max_length: int,
    label_names: Sequence[str] = LABEL_NAMES, num_known: int | None = None,
) -> PurchasePathModel:
    """A freshly initialised model; seed torch before the call to have the same weights again."""
    model = PurchasePathModel(
        config, num_items=num_items, num_types=num_types, num_features=num_features, max_length=max_length,
        label_names=label_names, num_known=num_known,
    )
    model.apply(initialise)
    for head in model.heads.values():
        if isinstance(head, PointHead):
            head.start_at_zero()
    return model


def count_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
