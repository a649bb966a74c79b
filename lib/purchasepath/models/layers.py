"""Blocks of the encoders: attention, and what stands beside it.

Legend: B examples, L padded length, Q places asked, D width, H heads, E width of one head (D / H), K inner width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from purchasepath.config import Model

LOG_SECONDS_SCALE = 8.0
"""log(1 + seconds) of an hour is about 8; divides times down to the size of the other inputs."""


class Attention(nn.Module):
    """Each position mixes the values of itself and of earlier ones or, where `seen_BL` is given, of all that it marks.

    Padding sits on the right, so no real position attends to a later one that is padding, and the first way needs no
    mask of keys.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.to_out = nn.Linear(width, width, bias=False)

    def forward(self, x_BLD: Tensor, asked_BQD: Tensor | None = None, seen_BL: Tensor | None = None) -> Tensor:
        """mixed_BQD; `asked_BQD` gives the queries, without it `x_BLD` does."""
        width = x_BLD.shape[-1]
        if asked_BQD is None:
            q_BQD, k_BLD, v_BLD = self.to_qkv(x_BLD).chunk(3, dim=-1)
        else:
            to_q, to_kv = self.to_qkv.weight.split((width, 2 * width))
            q_BQD = functional.linear(asked_BQD, to_q)
            k_BLD, v_BLD = functional.linear(x_BLD, to_kv).chunk(2, dim=-1)
        mixed_BHQE = functional.scaled_dot_product_attention(
            self._by_head(q_BQD), self._by_head(k_BLD), self._by_head(v_BLD),
            attn_mask=None if seen_BL is None else seen_BL[:, None, None], is_causal=seen_BL is None,
        )
        return self.to_out(mixed_BHQE.transpose(1, 2).flatten(2))

    def _by_head(self, x_BLD: Tensor) -> Tensor:
        return x_BLD.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class RecentEvents(nn.Module):
    """x plus a linear map of the few events before it: a causal convolution.

    What follows in a shop depends on the last two or three items together. Attention has to discover which position
    is "the one before" first; here it is given.
    """

    def __init__(self, width: int, events: int = 3) -> None:
        super().__init__()
        self.events = events
        self.mix = nn.Linear(events * width, width, bias=False)

    def forward(self, x_BLD: Tensor) -> Tensor:
        length = x_BLD.shape[1]
        padded = functional.pad(x_BLD, (0, 0, self.events, 0))
        earlier = torch.cat([padded[:, i : i + length] for i in range(self.events)], dim=-1)  # (B, L, events * D)
        return x_BLD + self.mix(earlier)


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)); gate and up share one matrix product."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_and_up = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x_BLD: Tensor) -> Tensor:
        gate_BLK, up_BLK = self.gate_and_up(x_BLD).chunk(2, dim=-1)
        return self.down(functional.silu(gate_BLK) * up_BLK)


class GatedResidual(nn.Module):
    """x + sigmoid(W x) * dropout(branch(norm(x))): the gate decides, per channel, how much of the branch to take."""

    def __init__(self, width: int, branch: nn.Module, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.branch = branch
        self.gate = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BLD: Tensor) -> Tensor:
        return self.add(x_BLD, self.branch(self.norm(x_BLD)))

    def add(self, x_BLD: Tensor, branch_BLD: Tensor) -> Tensor:
        """x and what the gate lets through of the branch."""
        return x_BLD + torch.sigmoid(self.gate(x_BLD)) * self.dropout(branch_BLD)


class PlainBlock(nn.Module):
    """The block of SASRec: attention, then two linear maps with a ReLU between; each adds to its normed input.

    Queries are normed, keys and values are not, as in the authors' code.
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, inner), nn.ReLU(), nn.Dropout(dropout), nn.Linear(inner, width), nn.Dropout(dropout)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BLD: Tensor) -> Tensor:
        asked_BLD = self.norm(x_BLD)
        x_BLD = asked_BLD + self.dropout(self.attention(x_BLD, asked_BLD))
        x_BLD = self.feed_forward_norm(x_BLD)
        return x_BLD + self.feed_forward(x_BLD)


class GatedBlock(nn.Sequential):
    """A pre-norm transformer block with gated residuals: attention, then SwiGLU."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__(
            GatedResidual(width, Attention(width, heads), dropout),
            GatedResidual(width, SwiGLU(width, inner), dropout),
        )

    def forward(self, x_BLD: Tensor, seen_BL: Tensor | None = None, asked_BQD: Tensor | None = None) -> Tensor:
        """y_BQD of the asked vectors, by default of all, from those that are seen, by default from earlier ones."""
        attend, feed_forward = cast("tuple[GatedResidual, GatedResidual]", tuple(self))
        asking_BQD = None if asked_BQD is None else attend.norm(asked_BQD)
        mixed_BQD = attend.branch(attend.norm(x_BLD), asking_BQD, seen_BL)
        return feed_forward(attend.add(x_BLD if asked_BQD is None else asked_BQD, mixed_BQD))


def stacked(block: Callable[[int, int, int, float], nn.Module], config: Model) -> nn.Sequential:
    """As many blocks as the configuration has layers."""
    inner = max(1, round(config.feed_forward * config.width))
    return nn.Sequential(*(block(config.width, config.heads, inner, config.dropout) for _ in range(config.layers)))
