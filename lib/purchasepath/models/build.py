"""The sequence model: an encoder over a user's events with a next-item head and a purchase head.

Legend: B examples, L padded length, D width, N rows to score, I items (special ids included), P as-of points,
F user features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from purchasepath.errors import ConfigError
from purchasepath.models.encoders import CausalTransformer
from purchasepath.models.heads import NextItemHead, PurchaseHead

if TYPE_CHECKING:
    from purchasepath.config import Model
    from purchasepath.datasets.batch import Batch


class PurchasePathModel(nn.Module):
    """One encoder, several heads. `encode` once, then ask the heads."""

    def __init__(self, config: Model, *, num_items: int, num_types: int, num_features: int, max_length: int) -> None:
        super().__init__()
        if config.width % config.heads:
            raise ConfigError([f"model.heads={config.heads} must divide model.width={config.width}"])
        self.max_length = max_length
        self.num_items = num_items
        self.encoder = CausalTransformer(config, num_items=num_items, num_types=num_types, max_length=max_length)
        self.next_item = NextItemHead(num_items)
        self.purchase = PurchaseHead(config.width, num_features, config.dropout)

    def encode(self, batch: Batch) -> Tensor:
        """hidden_BLD: what the model knows right after each event. Rows past an example's end mean nothing."""
        return self.encoder(batch)

    def item_scores(self, hidden_ND: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """scores_NI of the items `start … stop - 1` (all by default) as the next item; special ids are -inf."""
        return self.next_item(hidden_ND, self.encoder.embedding.item.weight[start:stop], start)

    def purchase_logit(self, hidden_PD: Tensor, idle_P: Tensor, features_PF: Tensor) -> Tensor:
        """logit_P of a purchase within the horizon after each as-of point."""
        return self.purchase(hidden_PD, idle_P, features_PF)

    def purchase_logits(self, batch: Batch, hidden_BLD: Tensor) -> Tensor:
        """logit_P of every as-of point of the batch, from the hidden vector of the last event before it."""
        hidden_PD = hidden_BLD[batch.row_P, batch.position_P]
        return self.purchase(hidden_PD, batch.idle_P, batch.features_PF)

    def forward(self, batch: Batch) -> Tensor:
        return self.encode(batch)


def build_model(
    config: Model, *, num_items: int, num_types: int, num_features: int, max_length: int
) -> PurchasePathModel:
    """A freshly initialised model; seed torch before the call to have the same weights again."""
    model = PurchasePathModel(
        config, num_items=num_items, num_types=num_types, num_features=num_features, max_length=max_length
    )
    model.apply(_initialise)
    model.purchase.start_at_zero()
    return model


def _initialise(module: nn.Module) -> None:
    """Embeddings small, so that the tied output scores start near uniform; matrices Xavier; biases 0."""
    if isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def count_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
