"""Encoders: one hidden vector per event, computed from that event and earlier ones only.

Legend: B examples, L padded length, D width, I items (special ids included), T event types.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from purchasepath.errors import ConfigError
from purchasepath.models.items import FusedItems, ItemTable
from purchasepath.models.layers import LOG_SECONDS_SCALE, GatedBlock, PlainBlock, RecentEvents

if TYPE_CHECKING:
    from purchasepath.config import Model
    from purchasepath.datasets.batch import Batch

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

    def forward(self, batch: Batch) -> Tensor:
        length = batch.item_BL.shape[1]
        numbers_BL2 = torch.stack((batch.gap_BL / LOG_SECONDS_SCALE, batch.price_BL), dim=-1)
        x_BLD = self.item(batch.item_BL) + self.event_type(batch.type_BL) + self.numbers(numbers_BL2)
        return self.dropout(self.norm(x_BLD + self.position.weight[:length]))


class Encoder(nn.Module, ABC):
    """Turns a batch into hidden_BLD: what is known right after each event, from it and the events before it.

    Rows past an example's end mean nothing. The item table, by which items are scored too, is `embedding.item`.
    """

    def __init__(self, embedding: EventEmbedding, width: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.norm = nn.LayerNorm(width)

    def forward(self, batch: Batch) -> Tensor:
        return self.norm(self.mix(self.embedding(batch)))

    @abstractmethod
    def mix(self, x_BLD: Tensor) -> Tensor:
        """The events' vectors, each with the earlier ones of its row mixed in."""


class GatedTransformer(Encoder):
    """A causal convolution over the last events, then pre-norm blocks with gated residuals and SwiGLU."""

    def __init__(self, config: Model, embedding: EventEmbedding) -> None:
        super().__init__(embedding, config.width)
        self.recent = RecentEvents(config.width)
        self.blocks = nn.Sequential(
            *(
                GatedBlock(config.width, _checked_heads(config), _inner_width(config), config.dropout)
                for _ in range(config.layers)
            )
        )

    def mix(self, x_BLD: Tensor) -> Tensor:
        return self.blocks(self.recent(x_BLD))


class SasRec(Encoder):
    """The blocks of SASRec (Kang and McAuley, 2018), on our events' vectors."""

    def __init__(self, config: Model, embedding: EventEmbedding) -> None:
        super().__init__(embedding, config.width)
        self.blocks = nn.Sequential(
            *(
                PlainBlock(config.width, _checked_heads(config), _inner_width(config), config.dropout)
                for _ in range(config.layers)
            )
        )

    def mix(self, x_BLD: Tensor) -> Tensor:
        return self.blocks(x_BLD)


class Recurrent(Encoder):
    """Layers of GRU or LSTM cells, as in GRU4Rec (Hidasi and others, 2016)."""

    def __init__(self, config: Model, embedding: EventEmbedding, cells: type[nn.GRU] | type[nn.LSTM]) -> None:
        super().__init__(embedding, config.width)
        between = config.dropout if config.layers > 1 else 0.0  # torch warns of dropout after an only layer
        self.cells = cells(config.width, config.width, config.layers, batch_first=True, dropout=between)

    def mix(self, x_BLD: Tensor) -> Tensor:
        if not x_BLD.shape[0]:
            return x_BLD  # the cells refuse a batch without rows
        return self.cells(x_BLD)[0]


ENCODERS: Mapping[str, Callable[[Model, EventEmbedding], Encoder]] = {
    "transformer": GatedTransformer,
    "sasrec": SasRec,
    "gru": partial(Recurrent, cells=nn.GRU),
    "lstm": partial(Recurrent, cells=nn.LSTM),
}
"""By `model.encoder`."""


def _checked_heads(config: Model) -> int:
    if config.width % config.heads:
        raise ConfigError([f"model.heads={config.heads} must divide model.width={config.width}"])
    return config.heads


def _inner_width(config: Model) -> int:
    return max(1, round(config.feed_forward * config.width))
