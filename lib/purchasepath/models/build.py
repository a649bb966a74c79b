"""The sequence model: an encoder over a user's events, the next item, and a head for every further question.

Legend: B examples, L padded length, D width, N rows to score, I items (special ids included), K some items.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

from purchasepath.models.encoders import ENCODERS
from purchasepath.models.events import EventEmbedding
from purchasepath.models.heads import BinaryHead, NextItemHead, PointHead
from purchasepath.models.items import initialise
from purchasepath.models.questions import QUESTIONS

if TYPE_CHECKING:
    from purchasepath.config import Model
    from purchasepath.datasets.batch import Batch


class PurchasePathModel(nn.Module):
    """One encoder, several heads. `encode` once, then ask.

    `predicts` are the questions it learns to answer, in an order of their own. Items can be scored in any case; while
    it learns, targets are told from items with a history, whose ids are below `num_known` (all, where not given).
    """

    def __init__(
        self, config: Model, *, num_items: int, num_types: int, num_features: int, max_length: int,
        num_known: int | None = None,
    ) -> None:
        super().__init__()
        self.max_length = max_length
        self.num_items = num_items
        self.num_known = num_items if num_known is None else num_known
        embedding = EventEmbedding(config, num_items=num_items, num_types=num_types, max_length=max_length)
        self.encoder = ENCODERS[config.encoder](config, embedding)
        self.next_item = NextItemHead(num_items)
        self.predicts = tuple(name for name in ("item", *QUESTIONS) if name in config.predicts)
        self.heads = nn.ModuleDict({
            name: QUESTIONS[name].head(config, num_types=num_types, num_features=num_features)
            for name in self.predicts if name != "item"
        })

    def encode(self, batch: Batch) -> Tensor:
        """hidden_BLD: what the model knows right after each event.

        Rows mean something where the batch asks a question that the model predicts.
        """
        return self.encoder(batch)

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

    def ask(self, question: str, batch: Batch, hidden_BLD: Tensor) -> tuple[Tensor, Tensor]:
        """The logits at the places of the batch where it is asked, and the right answers there."""
        return QUESTIONS[question].ask(self.heads[question], batch, hidden_BLD)

    def probability(self, question: str, logit_N: Tensor) -> Tensor:
        """The calibrated probability of a yes."""
        head = self.heads[question]
        assert isinstance(head, BinaryHead), f"{question} is not answered by yes or no"
        return head.probability(logit_N)

    def train(self, mode: bool = True) -> PurchasePathModel:
        """As of any module, but an encoder that learns nothing answers as it will when it is asked: without dropout."""
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.encoder.parameters()):
            self.encoder.eval()
        return self

    def forward(self, batch: Batch) -> Tensor:
        return self.encode(batch)


def build_model(
    config: Model, *, num_items: int, num_types: int, num_features: int, max_length: int, num_known: int | None = None
) -> PurchasePathModel:
    """A freshly initialised model; seed torch before the call to have the same weights again."""
    model = PurchasePathModel(
        config, num_items=num_items, num_types=num_types, num_features=num_features, max_length=max_length,
        num_known=num_known,
    )
    model.apply(initialise)
    for head in model.heads.values():
        if isinstance(head, PointHead):
            head.start_at_zero()
    return model


def count_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
