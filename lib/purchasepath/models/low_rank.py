"""Low-rank adapters (Hu and others, 2021): a matrix learns as W + up x down, while W stays.

While they are learned, adapters compute the matrix that their layer multiplies by; merged, that matrix takes W's place
and nothing of them is left, so a merged model answers exactly as before.

Legend: O outputs, I inputs, R rank.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from purchasepath.errors import ConfigError
from purchasepath.models.layers import Attention, PlainBlock, SwiGLU


class LowRank(nn.Module):
    """W -> W + up x down; starts as the identity."""

    def __init__(self, weight_OI: Tensor, rank: int) -> None:
        super().__init__()
        outputs, inputs = weight_OI.shape
        self.up_OR = nn.Parameter(weight_OI.new_zeros(outputs, rank))
        self.down_RI = nn.Parameter(torch.randn(rank, inputs, device=weight_OI.device) / inputs**0.5)

    def forward(self, weight_OI: Tensor) -> Tensor:
        return weight_OI + self.up_OR @ self.down_RI


def add_adapters(encoder: nn.Module, rank: int) -> None:
    """Adapters on every matrix of attention and feed-forward layers; nothing else of the encoder learns any more."""
    layers = list(_matrices(encoder))
    if not layers:
        raise ConfigError([
            "training.tune=lora adapts attention and feed-forward matrices and the encoder has none: expected "
            "model.encoder=transformer, sasrec or bert4rec; for others use training.tune=full or frozen"
        ])
    encoder.requires_grad_(False)
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight.detach(), rank))


def merge_adapters(model: nn.Module) -> None:
    """Leaves plain matrices; does nothing to a model without adapters."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def _matrices(encoder: nn.Module) -> Iterator[nn.Linear]:
    for module in encoder.modules():
        inner = module.feed_forward if isinstance(module, PlainBlock) else module
        if isinstance(module, (Attention, SwiGLU, PlainBlock)):
            yield from (layer for layer in inner.children() if isinstance(layer, nn.Linear))
