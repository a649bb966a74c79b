"""BERT4Rec (Sun and others, 2019): an encoder that reads both ways, and guesses events in whose places masks stand.

Asked what follows event p, the encoder reads the events up to p and one mask behind them, and nothing else: a pass for
every place that is asked. So its answers keep the contract of all encoders, and cost as many passes.

    events 0 1 2, asked after 0 and 2      0 m         answers after 0
                                           0 1 2 m     answers after 2

Learning next items that way would cost the same. A training step masks some of an example's targets at once instead and
guesses them from all other events (Cloze); of some examples it takes one target alone, as it is asked later. Whatever
else is predicted (a purchase, the type of the next event) hangs on what follows, and is learned as it is asked.

    events 0 1 2 3, masked 1 and 3         0 m 2 m     guesses 1 and 3: what is known after 0 and after 2

Legend: B examples, L padded length, D width, N passes, M their padded length, K masks guessed at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from purchasepath.models.events import Asks, Encoder, EventEmbedding
from purchasepath.models.layers import GatedBlock, RecentEvents, stacked
from purchasepath.tables.tasks import TASK, At

if TYPE_CHECKING:
    from purchasepath.config import Model
    from purchasepath.datasets.batch import Inputs
    from purchasepath.datasets.rows import Rows

_ALONE_SHARE = 0.2
"""Share of examples of which a step takes one target alone."""
_TOKENS = 1 << 13
"""Padded events of passes computed at once."""


class MaskedTransformer(Encoder):
    """The default transformer's layers, reading both ways, and a mask's vector."""

    reads_both_ways = True

    def __init__(self, config: Model, embedding: EventEmbedding) -> None:
        super().__init__(embedding, config.width)
        # a mask may stand behind the longest example
        embedding.position = nn.Embedding(embedding.position.num_embeddings + 1, config.width)
        self.mask = nn.Embedding(1, config.width)
        self.recent = RecentEvents(config.width)
        self.blocks = stacked(GatedBlock, config)
        self.share = config.mask_share
        self.others = set(config.tasks) - {"item"}

    def draw(self, rows: Rows, generator: np.random.Generator) -> Rows:
        """The examples with some of their targets: a share at random, or one alone, of each at least one.

        Targets that need no pass beside those of other tasks all stay.
        """
        if any(TASK[name].at == At.EVERY_EVENT for name in self.others):  # nearly every event is asked about
            return rows
        target_N, chance_N = rows.event("target"), generator.random(rows.events)
        free_N = np.zeros(rows.events, bool)
        if self.others:
            free_N[rows.point_events] = True
        chance_N[free_N | (target_N == 0)] = 2.0
        example_N = np.repeat(np.arange(rows.rows), rows.length_B)
        drawn_N, first_N = chance_N < self.share, np.zeros(rows.events, bool)
        first_N[np.lexsort((chance_N, example_N))[rows.first_events]] = True
        drawn_B = np.bincount(example_N[drawn_N], minlength=rows.rows)
        alone_B = (drawn_B == 0) | (generator.random(rows.rows) < _ALONE_SHARE)
        return rows.with_event("target", target_N * (free_N | np.where(alone_B[example_N], first_N, drawn_N)))

    def forward(self, batch: Inputs, asks: Asks | None = None) -> Tensor:
        assert asks is not None
        told_BLD = functional.pad(self.embedding.told(batch), (0, 0, 0, 1))  # room for a mask behind the last event
        together_BL, alone_BL = self._places(asks)
        places, vectors = [alone_BL.nonzero()], [self._answer_alone(told_BLD, alone_BL)]
        if together_BL.any():
            places.append(together_BL.nonzero())
            vectors.append(self._guess_together(told_BLD, batch.item_BL, together_BL))
        row_N, place_N = torch.cat(places).unbind(1)
        answer_ND = self.norm(torch.cat(vectors))
        hidden_BLD = answer_ND.new_zeros(*batch.item_BL.shape, answer_ND.shape[1])
        hidden_BLD[row_N, place_N] = answer_ND
        return hidden_BLD

    def _places(self, asks: Asks) -> tuple[Tensor, Tensor]:
        """(together_BL, alone_BL): after which events masks stand in one pass for all, and in passes of their own."""
        item_BL = asks.item_BL & ~asks.others_BL
        together_BL = item_BL & (item_BL.sum(dim=1, keepdim=True) > 1) & self.training
        return together_BL, asks.others_BL | (item_BL & ~together_BL)

    def _answer_alone(self, told_BLD: Tensor, alone_BL: Tensor) -> Tensor:
        """vector_ND of one mask behind each of the places, in the order of `nonzero`."""
        row_N, place_N = alone_BL.nonzero().unbind(1)
        order_N = torch.argsort(place_N, stable=True)
        parts = list(_parts(order_N, place_N[order_N].tolist()))
        again = len(parts) > 1 and torch.is_grad_enabled()  # computed again on the way back, so that memory is bounded
        vectors = [told_BLD.new_zeros(0, told_BLD.shape[2])]
        for part in parts:
            inputs = told_BLD, row_N[part], place_N[part]
            vectors.append(checkpoint(self._behind, *inputs, use_reentrant=False) if again else self._behind(*inputs))
        return torch.cat(vectors)[torch.argsort(torch.cat([order_N[:0], *parts]))]

    def _behind(self, told_BLD: Tensor, row_N: Tensor, place_N: Tensor) -> Tensor:
        """vector_ND of a mask behind the place of each row."""
        mask_N1 = place_N[:, None] + 1
        slot_M = torch.arange(int(place_N.max()) + 2, device=place_N.device)
        told_NMD = told_BLD[:, : len(slot_M)][row_N]
        return self._read(told_NMD, slot_M == mask_N1, slot_M <= mask_N1, mask_N1)[:, 0]

    def _guess_together(self, told_BLD: Tensor, item_BL: Tensor, together_BL: Tensor) -> Tensor:
        """vector_ND of the masks behind the places, all of an example in one pass, in the order of `nonzero`.

        A later event on a masked item would tell it, and is not seen: viewed things are put into carts.
        """
        row_N = together_BL.any(dim=1).nonzero().squeeze(1)
        item_NM = functional.pad(item_BL[row_N], (0, 1))
        masked_NM = functional.pad(together_BL[row_N], (1, 0))
        comes_back_NMM = (item_NM[:, :, None] == item_NM[:, None, :]).triu(1)
        told_NM = (comes_back_NMM & masked_NM[:, :, None]).any(dim=1)
        seen_NM = masked_NM | ((item_NM > 0) & ~told_NM)
        count_N = masked_NM.sum(dim=1)
        most = int(count_N.max())
        mask_NK = torch.argsort(masked_NM.byte(), dim=1, descending=True, stable=True)[:, :most]  # masks first
        vector_NKD = self._read(told_BLD[row_N], masked_NM, seen_NM, mask_NK)
        return vector_NKD[torch.arange(most, device=row_N.device) < count_N[:, None]]

    def _read(self, told_NMD: Tensor, masked_NM: Tensor, seen_NM: Tensor, asked_NK: Tensor) -> Tensor:
        """vector_NKD at the asked places of passes, from the events and masks that are seen."""
        x_NMD = self.embedding.placed(torch.where(masked_NM[..., None], self.mask.weight[0], told_NMD))
        x_NMD = self.recent(x_NMD * seen_NM[..., None])
        *blocks, last = self.blocks
        for block in blocks:
            x_NMD = block(x_NMD, seen_NM)
        asked_NKD = x_NMD.gather(1, asked_NK[..., None].expand(-1, -1, x_NMD.shape[2]))
        return last(x_NMD, seen_NM, asked_NKD)


def _parts(order_N: Tensor, rising: list[int]) -> Iterator[Tensor]:
    """`order_N` from its end on in parts of at most `_TOKENS` padded events, or one pass, given the places in order."""
    end = len(rising)
    while end:
        start = max(0, end - max(1, _TOKENS // (rising[end - 1] + 2)))
        yield order_N[start:end]
        end = start
