from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from purchasepath.models.layers import Attention, GatedBlock, GatedResidual, PlainBlock, SwiGLU


def test_attention_equals_a_masked_softmax_written_out() -> None:
    torch.manual_seed(0)
    attention = Attention(width=8, heads=2)
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


def test_a_plain_block_is_the_one_of_the_sasrec_paper_written_out() -> None:
    torch.manual_seed(0)
    block = PlainBlock(8, 2, 16, dropout=0.0)
    x_BLD = torch.randn(2, 5, 8)
    asked_BLD = block.norm(x_BLD)
    to_q, to_k, to_v = block.attention.to_qkv.weight.split(8)
    heads = []
    for part in (slice(4), slice(4, 8)):
        scores_BLL = (asked_BLD @ to_q[part].T) @ (x_BLD @ to_k[part].T).transpose(1, 2) / 2
        later = torch.ones(5, 5).triu(1).bool()
        heads.append(scores_BLL.masked_fill(later, float("-inf")).softmax(-1) @ (x_BLD @ to_v[part].T))
    y_BLD = block.feed_forward_norm(asked_BLD + block.attention.to_out(torch.cat(heads, dim=-1)))
    first, second = block.feed_forward[0], block.feed_forward[3]
    torch.testing.assert_close(block(x_BLD), y_BLD + second(first(y_BLD).relu()))


def test_a_block_keeps_the_shape() -> None:
    assert GatedBlock(8, 2, 16, 0.1)(torch.randn(2, 7, 8)).shape == (2, 7, 8)
