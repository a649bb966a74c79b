"""Events as vectors, and what every encoder makes of them.

Legend: B examples, L padded length, D width, I items (special ids included), T event types.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from purchasepath.models.items import FusedItems, ItemTable
from purchasepath.models.layers import LOG_SECONDS_SCALE

if TYPE_CHECKING:
    from purchasepath.config import Model
    from purchasepath.datasets.batch import Inputs
    from purchasepath.datasets.rows import Rows

_NUMBER_FEATURES = 2
_NUMBER_INNER = 16


class EventEmbedding(nn.Module):
    """The sum of an event's item, type, numbers (time gap, price) and position vectors.

    Positions count from the start of the example: counting from its end would tell an event how many
    events follow it.
    """

    def __init__(self, config: Model, *, num_items: int, num_types: int, max_length: int) -> None:
        super().__init__()
        self.item: ItemTable | FusedItems = ItemTable(num_items, config.width)
        self.event_type = nn.Embedding(num_types, config.width)
        self.position = nn.Embedding(max_length, config.width)
        self.numbers = nn.Sequential(
            nn.Linear(_NUMBER_FEATURES, _NUMBER_INNER), nn.SiLU(), nn.Linear(_NUMBER_INNER, config.width)
        )
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, batch: Inputs) -> Tensor:
        return self.placed(self.told(batch))

    def told(self, batch: Inputs) -> Tensor:
        """told_BLD: what each event says by itself, wherever it stands."""
        numbers_BL2 = torch.stack((batch.gap_BL / LOG_SECONDS_SCALE, batch.price_BL), dim=-1)
        return self.item(batch.item_BL) + self.event_type(batch.type_BL) + self.numbers(numbers_BL2)

    def placed(self, told_BLD: Tensor) -> Tensor:
        """x_BLD: the same where it stands."""
        return self.dropout(self.norm(told_BLD + self.position.weight[: told_BLD.shape[1]]))


@dataclass(frozen=True)
class Asks:
    """After which events something is asked: the next item, and anything else."""

    item_BL: Tensor
    others_BL: Tensor

    @staticmethod
    def at_points(inputs: Inputs) -> Asks:
        others_BL = torch.zeros_like(inputs.item_BL, dtype=torch.bool)
        others_BL[inputs.row_P, inputs.position_P] = True
        return Asks(torch.zeros_like(others_BL), others_BL)


class Encoder(nn.Module, ABC):
    """Turns a batch into hidden_BLD: what is known right after each event, from it and the events before it.

    Past an example's end rows mean nothing. The item table, by which items are scored too, is `embedding.item`.
    """

    reads_both_ways = False
    """Whether it has to be told where something is asked; rows mean something there alone."""

    def __init__(self, embedding: EventEmbedding, width: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.norm = nn.LayerNorm(width)

    @abstractmethod
    def forward(self, batch: Inputs, asks: Asks | None = None) -> Tensor:
        """hidden_BLD"""

    def draw(self, rows: Rows, generator: np.random.Generator) -> Rows:
        """The examples with those of their targets that one training step learns from: here, all."""
        return rows
