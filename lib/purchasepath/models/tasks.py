"""Where in a batch a task is asked, by which head it is answered there, and what the right answers are.

Legend: B examples, L padded length, D width, N places where a task is asked (in `count`: events), P as-of points,
A logits of one answer, T event types (padding included).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from purchasepath.datasets.manifest import CONTEXT, NO_PURCHASE_FOLLOWS, PURCHASE_FOLLOWS
from purchasepath.models.heads import PointHead, SessionHead, TypeHead
from purchasepath.models.kinds import ANSWERS
from purchasepath.tables.tasks import TASK, Kind, Label, LaterInSession

if TYPE_CHECKING:
    from purchasepath.config import Model
    from purchasepath.datasets.batch import Batch, Inputs
    from purchasepath.datasets.rows import Rows


class Asked(Protocol):
    """A task, the same wherever a model learns, validates, is evaluated or scores."""

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
    """Asked at as-of points, where the label is known: from the hidden vector of the last event before the point."""

    kind: Kind
    place: int
    """of its label among the manifest's `label_names`"""

    def head(self, config: Model, *, num_types: int, num_features: int) -> nn.Module:
        return PointHead(config.width, num_features, config.dropout, ANSWERS[self.kind].logits)

    def count(self, rows: Rows) -> int:
        return rows.points - int(np.isnan(rows.labels_PT[:, self.place]).sum())

    def asked(self, batch: Batch) -> Tensor:
        known_P = self._known(batch)
        asked_BL = torch.zeros_like(batch.target_BL, dtype=torch.bool)
        asked_BL[batch.row_P[known_P], batch.position_P[known_P]] = True
        return asked_BL

    def logits(self, head: nn.Module, inputs: Inputs, hidden_BLD: Tensor) -> Tensor:
        """logit_P, or logit_PA, at every point, asked or not."""
        hidden_PD = hidden_BLD[inputs.row_P, inputs.position_P]
        return head(hidden_PD, inputs.idle_P, inputs.features_PF)

    def ask(self, head: nn.Module, batch: Batch, hidden_BLD: Tensor) -> tuple[Tensor, Tensor]:
        known_P = self._known(batch)
        return self.logits(head, batch, hidden_BLD)[known_P], self.answers(batch)

    def rows(self, batch: Batch) -> Tensor:
        return batch.row_P[self._known(batch)]

    def known_features(self, head: PointHead, batch: Batch) -> Tensor:
        """The inputs of the head's linear term where it is asked."""
        return head.known(batch.idle_P, batch.features_PF)[self._known(batch)]

    def answers(self, batch: Batch) -> Tensor:
        """answer_N"""
        return batch.labels_PT[self._known(batch), self.place]

    def _known(self, batch: Batch) -> Tensor:
        return ~batch.labels_PT[:, self.place].isnan()


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
class AfterEvents:
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


def asked_of(task: str, label_names: Sequence[str]) -> Asked:
    """The task of this name beside `item`, which the encoder answers itself; labels lie as `label_names` says."""
    label = TASK[task].label
    if isinstance(label, Label):
        return AtPoints(TASK[task].kind, label_names.index(task))
    return InSession() if isinstance(label, LaterInSession) else AfterEvents()
