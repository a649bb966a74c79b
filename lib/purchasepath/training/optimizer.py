"""AdamW on a model whose weights and gradients are one buffer each, and the learning rate over the run.

One buffer means one all-reduce, one norm and one update per step, whatever the number of weights. torch.optim is not
used: its first step imports torch's compiler, 1.4 s on every rank, and takes a list of tensors where we have one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from purchasepath.config import Training

_REFERENCE_BATCH = 128
_FINAL_SHARE = 0.1
_BETAS = (0.9, 0.98)
_EPSILON = 1e-8
_CPU_BLOCK = 1 << 18
"""Weights updated at once: a block stays in the processor's cache through the ten passes of an update."""


class FlatModel:
    """The weights that a model learns and their gradients as two buffers; its parameters become views of them.

    `sent` is what ranks exchange: the gradients, and behind them `counts_Q`, some numbers that travel along. `places`
    has the parameters in their order, and where each lies in the buffers.

    Legend: W weights that are learned, in the order of the model's parameters.
    """

    def __init__(self, model: nn.Module, *, counts: int) -> None:
        parameters = learned(model)
        self.places = list(zip(parameters, _places(parameters), strict=True))
        self.weights_W = torch.cat([p.detach().flatten() for p in parameters])
        self.sent = self.weights_W.new_zeros(self.weights_W.numel() + counts)
        self.gradients_W, self.counts_Q = self.sent.split((self.weights_W.numel(), counts))
        for parameter, place in self.places:
            parameter.data = self.weights_W[place].view_as(parameter)
            parameter.grad = self.gradients_W[place].view_as(parameter)

    def clip(self, max_norm: float) -> None:
        """Scales the gradient down to `max_norm`; no look at its value, so a GPU is not waited for."""
        self.gradients_W.mul_((max_norm / (self.gradients_W.norm() + 1e-6)).clamp(max=1.0))


class AdamW:
    """Adam with decoupled weight decay. Matrices decay; embeddings, biases and norms do not."""

    def __init__(self, model: nn.Module, flat: FlatModel, config: Training) -> None:
        self.flat = flat
        self.mean_W = torch.zeros_like(flat.weights_W)
        self.square_W = torch.zeros_like(flat.weights_W)
        self.decay_W = torch.zeros_like(flat.weights_W)
        embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
        for parameter, place in flat.places:
            if parameter.ndim >= 2 and id(parameter) not in embeddings:
                self.decay_W[place] = config.weight_decay

    def step(self, update: int, rate: float) -> None:
        """One step down the gradient; `update` counts them from 0."""
        buffers = (self.flat.weights_W, self.flat.gradients_W, self.mean_W, self.square_W, self.decay_W)
        size = len(self.flat.weights_W) if self.flat.weights_W.is_cuda else _CPU_BLOCK
        for block in zip(*(buffer.split(size) for buffer in buffers), strict=True):
            _step(update, rate, *block)

    def tensors(self) -> dict[str, Tensor]:
        """The live state, which a checkpoint keeps."""
        return {"mean": self.mean_W, "square": self.square_W}


def _step(
    update: int, rate: float, weights_W: Tensor, gradients_W: Tensor, mean_W: Tensor, square_W: Tensor, decay_W: Tensor
) -> None:
    beta_mean, beta_square = _BETAS
    mean_W.lerp_(gradients_W, 1 - beta_mean)
    square_W.mul_(beta_square).addcmul_(gradients_W, gradients_W, value=1 - beta_square)
    root_W = (square_W / (1 - beta_square ** (update + 1))).sqrt_().add_(_EPSILON)
    step_W = (mean_W / (1 - beta_mean ** (update + 1))).div_(root_W)
    step_W.addcmul_(decay_W, weights_W)
    weights_W.sub_(step_W, alpha=rate)


def learning_rate(update: int, total_updates: int, config: Training) -> float:
    """Rate of update 0, 1, …: linear warm-up to the peak, then a cosine down to a tenth of it.

    The peak is the configured rate times sqrt(batch_size / 128), Adam's rule for larger batches; `batch_size` counts
    the examples of all ranks, so more ranks alone change nothing. Warm-up takes at most a fifth of the run.
    """
    peak = config.learning_rate * math.sqrt(config.batch_size / _REFERENCE_BATCH)
    warmup = min(config.warmup_steps, total_updates // 5)
    if update < warmup:
        return peak * (update + 1) / (warmup + 1)
    done = (update - warmup) / max(1, total_updates - warmup)
    return peak * (_FINAL_SHARE + (1 - _FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def learned(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that training changes."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _places(parameters: list[nn.Parameter]) -> list[slice]:
    """Where each parameter lies in the buffers."""
    places, start = [], 0
    for parameter in parameters:
        places.append(slice(start, start + parameter.numel()))
        start += parameter.numel()
    return places
