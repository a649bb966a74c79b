"""What a model may be asked beside the next item: where in a batch it is asked, and what the right answers are.

Legend: B examples, L padded length, D width, N places asked (in `count`: events), P as-of points, T event types
(padding included).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from purchasepath.datasets.manifest import CONTEXT, NO_PURCHASE_FOLLOWS, PURCHASE_FOLLOWS
from purchasepath.models.heads import PointHead, SessionHead, TypeHead

if TYPE_CHECKING:
    from purchasepath.config import Model
    from purchasepath.datasets.batch import Batch
    from purchasepath.datasets.rows import Rows


class Question(Protocol):
    """One kind of answer, the same wherever a model learns, validates, is evaluated or scores."""

    def head(self, config: Model, *, num_types: int, num_features: int) -> nn.Module:
        """A head that answers it."""
        ...

    def count(self, rows: Rows) -> int:
        """Places of these examples where it is asked."""
        ...

    def asked(self, batch: Batch) -> Tensor:
        """asked_BL: the events after which it is asked."""
        ...

    def ask(self, head: nn.Module, batch: Batch, hidden_BLD: Tensor) -> tuple[Tensor, Tensor]:
        """The logits at these places and the right answers there."""
        ...

    def rows(self, batch: Batch) -> Tensor:
        """The example that each of these places belongs to, in the order of `ask`."""
        ...


@dataclass(frozen=True)
class AtPoints:
    """Asked at every as-of point: yes or no, from the hidden vector of the last event before it."""

    answer: str
    """The batch's tensor of right answers."""

    def head(self, config: Model, *, num_types: int, num_features: int) -> nn.Module:
        return PointHead(config.width, num_features, config.dropout)

    def count(self, rows: Rows) -> int:
        return rows.points

    def asked(self, batch: Batch) -> Tensor:
        asked_BL = torch.zeros_like(batch.target_BL, dtype=torch.bool)
        asked_BL[batch.row_P, batch.position_P] = True
        return asked_BL

    def ask(self, head: nn.Module, batch: Batch, hidden_BLD: Tensor) -> tuple[Tensor, Tensor]:
        """logit_P, answer_P"""
        hidden_PD = hidden_BLD[batch.row_P, batch.position_P]
        return head(hidden_PD, batch.idle_P, batch.features_PF), self.answers(batch)

    def rows(self, batch: Batch) -> Tensor:
        return batch.row_P

    def answers(self, batch: Batch) -> Tensor:
        return getattr(batch, self.answer)


@dataclass(frozen=True)
class InSession:
    """Asked after every event of a session that has not bought yet: will it?"""

    def head(self, config: Model, *, num_types: int, num_features: int) -> nn.Module:
        return SessionHead(config.width, config.dropout)

    def count(self, rows: Rows) -> int:
        return int((rows.event("outcome") >= NO_PURCHASE_FOLLOWS).sum())

    def asked(self, batch: Batch) -> Tensor:
        return batch.outcome_BL >= NO_PURCHASE_FOLLOWS

    def ask(self, head: nn.Module, batch: Batch, hidden_BLD: Tensor) -> tuple[Tensor, Tensor]:
        """logit_N, answer_N"""
        asked_BL = self.asked(batch)
        return head(hidden_BLD[asked_BL]), (batch.outcome_BL[asked_BL] == PURCHASE_FOLLOWS).float()

    def rows(self, batch: Batch) -> Tensor:
        return self.asked(batch).nonzero()[:, 0]


@dataclass(frozen=True)
class NextType:
    """Asked after every event of the example's own that another one follows: of which type will that be?"""

    def head(self, config: Model, *, num_types: int, num_features: int) -> nn.Module:
        return TypeHead(config.width, num_types, config.dropout)

    def count(self, rows: Rows) -> int:
        own_N = rows.event("outcome") > CONTEXT
        return int(own_N.sum()) - int(own_N[rows.last_events].sum())

    def asked(self, batch: Batch) -> Tensor:
        return (batch.outcome_BL > CONTEXT) & (self._next_type(batch) > 0)

    def ask(self, head: nn.Module, batch: Batch, hidden_BLD: Tensor) -> tuple[Tensor, Tensor]:
        """logit_NT, answer_N"""
        asked_BL = self.asked(batch)
        return head(hidden_BLD[asked_BL]), self._next_type(batch)[asked_BL]

    def rows(self, batch: Batch) -> Tensor:
        return self.asked(batch).nonzero()[:, 0]

    @staticmethod
    def _next_type(batch: Batch) -> Tensor:
        return functional.pad(batch.type_BL[:, 1:], (0, 1))


PURCHASE, CHURN = AtPoints("bought_P"), AtPoints("churned_P")

QUESTIONS: Mapping[str, Question] = {
    "purchase": PURCHASE, "session": InSession(), "churn": CHURN, "next_type": NextType(),
}
"""By `model.predicts`; `item`, the next item, is the encoder's own."""

BINARY = ("purchase", "session", "churn")
"""Questions answered by yes or no; their logits become probabilities by `BinaryHead.probability`."""


def loss_sum(logits: Tensor, answers: Tensor) -> Tensor:
    """Sum of -log of the probability given to the right answers: of two (logit_N) or of many (logit_NT)."""
    if logits.ndim == 1:
        return functional.binary_cross_entropy_with_logits(logits.float(), answers, reduction="sum")
    return functional.cross_entropy(logits.float(), answers, reduction="sum")
