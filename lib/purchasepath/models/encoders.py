"""The encoders: one hidden vector per event, computed from that event and earlier ones only.

Legend: B examples, L padded length, D width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor, nn

from purchasepath.models.events import Encoder, EventEmbedding
from purchasepath.models.layers import GatedBlock, PlainBlock, RecentEvents, stacked
from purchasepath.models.masked import MaskedTransformer

if TYPE_CHECKING:
    from purchasepath.config import Model
    from purchasepath.datasets.batch import Inputs
    from purchasepath.models.events import Asks


class CausalEncoder(Encoder):
    """Answers after every event in one pass, as nothing in it looks ahead."""

    def forward(self, batch: Inputs, asks: Asks | None = None) -> Tensor:
        return self.norm(self.mix(self.embedding(batch)))

    @abstractmethod
    def mix(self, x_BLD: Tensor) -> Tensor:
        """The events' vectors, each with the earlier ones of its row mixed in."""


class GatedTransformer(CausalEncoder):
    """A causal convolution over the last events, then pre-norm blocks with gated residuals and SwiGLU."""

    def __init__(self, config: Model, embedding: EventEmbedding) -> None:
        super().__init__(embedding, config.width)
        self.recent = RecentEvents(config.width)
        self.blocks = stacked(GatedBlock, config)

    def mix(self, x_BLD: Tensor) -> Tensor:
        return self.blocks(self.recent(x_BLD))


class SasRec(CausalEncoder):
    """The blocks of SASRec (Kang and McAuley, 2018), on our events' vectors."""

    def __init__(self, config: Model, embedding: EventEmbedding) -> None:
        super().__init__(embedding, config.width)
        self.blocks = stacked(PlainBlock, config)

    def mix(self, x_BLD: Tensor) -> Tensor:
        return self.blocks(x_BLD)


class Recurrent(CausalEncoder):
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
    "bert4rec": MaskedTransformer,
}
"""By `model.encoder`."""
