"""Encoders: one hidden vector per event, computed from that event and earlier ones only.

Legend: B examples, L padded length, D width, I items (special ids included), T event types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from purchasepath.models.layers import LOG_SECONDS_SCALE, GatedBlock, RecentEvents

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
        self.item = nn.Embedding(num_items, config.width)
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


class CausalTransformer(nn.Module):
    """Hidden vectors of a causal, pre-norm transformer with gated residuals and SwiGLU."""

    def __init__(self, config: Model, *, num_items: int, num_types: int, max_length: int) -> None:
        super().__init__()
        self.embedding = EventEmbedding(config, num_items=num_items, num_types=num_types, max_length=max_length)
        self.recent = RecentEvents(config.width)
        inner = max(1, round(config.feed_forward * config.width))
        self.blocks = nn.Sequential(
            *(GatedBlock(config.width, config.heads, inner, config.dropout) for _ in range(config.layers))
        )
        self.norm = nn.LayerNorm(config.width)

    def forward(self, batch: Batch) -> Tensor:
        return self.norm(self.blocks(self.recent(self.embedding(batch))))
