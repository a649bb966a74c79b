"""Blocks of the encoder: causal attention, SwiGLU, and the gated residual block that joins them.

Legend: B examples, L padded length, D width, H heads, E width of one head (D / H), K inner width of the SwiGLU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

LOG_SECONDS_SCALE = 8.0
"""log(1 + seconds) of an hour is about 8; divides times down to the size of the other inputs."""


class CausalAttention(nn.Module):
    """Each position mixes the values of itself and of earlier positions.

    Padding sits on the right, so no real position ever attends to it and no key mask is needed.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.to_out = nn.Linear(width, width, bias=False)

    def forward(self, x_BLD: Tensor, asked_BLD: Tensor | None = None) -> Tensor:
        """`asked_BLD` gives the queries; without it `x_BLD` does."""
        batch, length, width = x_BLD.shape
        if asked_BLD is None:
            qkv = self.to_qkv(x_BLD)
        else:
            to_q, to_kv = self.to_qkv.weight.split((width, 2 * width))
            qkv = torch.cat((functional.linear(asked_BLD, to_q), functional.linear(x_BLD, to_kv)), dim=-1)
        qkv = qkv.view(batch, length, 3, self.heads, width // self.heads)
        q_BHLE, k_BHLE, v_BHLE = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed_BHLE = functional.scaled_dot_product_attention(q_BHLE, k_BHLE, v_BHLE, is_causal=True)
        return self.to_out(mixed_BHLE.transpose(1, 2).reshape(batch, length, width))


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
        return x_BLD + torch.sigmoid(self.gate(x_BLD)) * self.dropout(self.branch(self.norm(x_BLD)))


class PlainBlock(nn.Module):
    """The block of SASRec: attention, then two linear maps with a ReLU between; each adds to its normed input.

    Queries are normed, keys and values are not, as in the authors' code.
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = CausalAttention(width, heads)
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
            GatedResidual(width, CausalAttention(width, heads), dropout),
            GatedResidual(width, SwiGLU(width, inner), dropout),
        )
