from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from purchasepath.models.layers import CausalAttention, GatedBlock, GatedResidual, SwiGLU


def test_attention_equals_a_masked_softmax_written_out() -> None:
    torch.manual_seed(0)
    attention = CausalAttention(width=8, heads=2)
    x_BLD = torch.randn(3, 5, 8)
    q, k, v = attention.to_qkv(x_BLD).chunk(3, dim=-1)
    heads = []
    for h in range(2):
        part = slice(4 * h, 4 * h + 4)
        scores_BLL = q[..., part] @ k[..., part].transpose(1, 2) / 4**0.5
        hidden = torch.ones(5, 5).triu(1).bool()
        heads.append(scores_BLL.masked_fill(hidden, float("-inf")).softmax(-1) @ v[..., part])
    expected_BLD = attention.to_out(torch.cat(heads, dim=-1))
    torch.testing.assert_close(attention(x_BLD), expected_BLD)


def test_swiglu_is_silu_of_the_gate_times_the_up_projection() -> None:
    torch.manual_seed(0)
    layer = SwiGLU(width=4, inner=6)
    x = torch.randn(2, 3, 4)
    gate, up = layer.gate_and_up.weight.split(6)
    expected = functional.silu(x @ gate.T) * (x @ up.T) @ layer.down.weight.T
    torch.testing.assert_close(layer(x), expected)


def test_a_closed_gate_leaves_the_input_as_it_was() -> None:
    residual = GatedResidual(4, nn.Linear(4, 4), dropout=0.0)
    nn.init.zeros_(residual.gate.weight)
    nn.init.constant_(residual.gate.bias, -1e4)
    x = torch.randn(2, 3, 4)
    torch.testing.assert_close(residual(x), x)


def test_an_open_gate_adds_the_whole_branch() -> None:
    residual = GatedResidual(4, nn.Linear(4, 4), dropout=0.0)
    nn.init.zeros_(residual.gate.weight)
    nn.init.constant_(residual.gate.bias, 1e4)
    x = torch.randn(2, 3, 4)
    torch.testing.assert_close(residual(x), x + residual.branch(residual.norm(x)))


def test_a_block_keeps_the_shape() -> None:
    assert GatedBlock(8, 2, 16, 0.1)(torch.randn(2, 7, 8)).shape == (2, 7, 8)
