"""Vectors of items: a row of each item's own and, while it is learned, what its side features say.

    vector of an item = its own row (left out where it has no history) + category + brand + price + vector x matrix

Fused, the sums take the rows' place and nothing of the side features is left: a fused model answers as before, and
an item without a history has a row like every other.

Legend: I items (special ids included), D width, V width of the items' own vectors, K some items.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from purchasepath.datasets.sides import Sides
    from purchasepath.models.build import PurchasePathModel

_BLOCK = 65_536


class ItemTable(nn.Embedding):
    """A row for every item."""

    def __init__(self, num_items: int, width: int) -> None:
        # sparse: looking up a few rows of a large table must not cost a gradient of the table's size
        super().__init__(num_items, width, sparse=True)

    def rows(self, start: int, stop: int | None) -> Tensor:
        """vector_KD of the items `start … stop - 1`."""
        return self.weight[start:stop]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within, the vectors of all items are computed once; here they are there already."""
        yield


class SideFeatures(nn.Module):
    """vector_KD of items by what is known of them beside their history: a sum of what each side feature says."""

    def __init__(self, sides: Sides, width: int) -> None:
        super().__init__()
        self.tables = nn.ModuleDict()
        for name, number_I in sides.number_I.items():
            self.tables[name] = nn.Embedding(int(number_I.max(initial=0)) + 1, width)
            self.register_buffer(f"{name}_I", torch.from_numpy(number_I), persistent=False)
        self.register_buffer("vector_IV", torch.from_numpy(sides.vector_IV), persistent=False)
        self.vector_IV: Tensor
        self.from_vector = nn.Linear(sides.vector_IV.shape[1], width, bias=False) if sides.vector_IV.shape[1] else None
        self.width = width

    def forward(self, item_K: Tensor) -> Tensor:
        said_KD = self.vector_IV.new_zeros(*item_K.shape, self.width)
        for name, table in self.tables.items():
            said_KD = said_KD + table(getattr(self, f"{name}_I")[item_K])
        return said_KD if self.from_vector is None else said_KD + self.from_vector(self.vector_IV[item_K])


class FusedItems(nn.Module):
    """What stands in an ItemTable's place while side features are learned.

    Items from `num_known` on have no history: their own rows are zero and stay so. In training, each item's own row is
    left out with probability `dropout` (Volkovs and others, 2017): what side features say has to do without it, as
    it must for items without a history.
    """

    def __init__(self, table: ItemTable, side: SideFeatures, *, num_known: int, dropout: float) -> None:
        super().__init__()
        self.num_known, self.dropout = num_known, dropout
        self.own, self.side = table, side
        with torch.no_grad():
            self.own.weight[num_known:] = 0.0
        self._held_ID: Tensor | None = None

    @property
    def weight(self) -> Tensor:
        """The items' own rows."""
        return self.own.weight

    def forward(self, item_K: Tensor) -> Tensor:
        if self._held_ID is not None:
            return functional.embedding(item_K, self._held_ID)
        kept_K = item_K < self.num_known
        if self.training:
            kept_K = kept_K & (torch.rand(item_K.shape, device=item_K.device) >= self.dropout)
        return self.own(item_K) * kept_K.unsqueeze(-1) + self.side(item_K)

    def rows(self, start: int, stop: int | None) -> Tensor:
        """vector_KD of the items `start … stop - 1`."""
        if self._held_ID is not None:
            return self._held_ID[start:stop]
        item_I = torch.arange(len(self.weight), device=self.weight.device)
        return self(item_I[start:stop])

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within, the vectors of all items are computed once; what is learned of them flows back once, at the end."""
        vector_ID = self.rows(0, None)
        self._held_ID = vector_ID.detach().requires_grad_(vector_ID.requires_grad)
        try:
            yield
            if self._held_ID.grad is not None:
                vector_ID.backward(self._held_ID.grad)
        finally:
            self._held_ID = None

    @torch.no_grad()
    def fused(self) -> ItemTable:
        """The table of the sums."""
        self.eval()
        table = ItemTable(*self.weight.shape).to(self.weight.device)
        for start in range(0, len(self.weight), _BLOCK):
            table.weight[start : start + _BLOCK] = self.rows(start, start + _BLOCK)
        return table


def add_side_features(model: PurchasePathModel, sides: Sides, dropout: float) -> None:
    """Item vectors are learned with their side features from here on.

    Items have no bias beside their vectors then: it would be part of what an item without a history lacks.
    """
    embedding = model.encoder.embedding
    assert isinstance(embedding.item, ItemTable), "side features were added before"
    side = SideFeatures(sides, embedding.item.embedding_dim)
    side.apply(initialise)
    embedding.item = FusedItems(embedding.item, side, num_known=model.num_known, dropout=dropout)
    model.next_item.requires_grad_(False)


def fuse_items(model: PurchasePathModel) -> None:
    """Leaves a plain table; does nothing to a model without side features."""
    embedding = model.encoder.embedding
    if isinstance(embedding.item, FusedItems):
        embedding.item = embedding.item.fused()


def initialise(module: nn.Module) -> None:
    """Embeddings small, so that the tied output scores start near uniform; matrices Xavier; biases 0."""
    if isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
