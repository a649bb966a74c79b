"""AdamW, its learning rate over the run, and the gradients as one buffer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from purchasepath.config import Training

_REFERENCE_BATCH = 128
_FINAL_SHARE = 0.1
_LINEAR_FACTOR = 10.0
"""The purchase head's linear term learns faster: Adam moves a weight by about the rate per step, and a base rate of
a few percent is a bias of -3 or -4, thousands of steps away at the rate of the other weights."""


class FlatGradients:
    """All gradients of a model as views of one buffer: one all-reduce, one norm, one clear per step."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.buffer = torch.zeros(sum(p.numel() for p in parameters), device=parameters[0].device)
        start = 0
        for parameter in parameters:
            parameter.grad = self.buffer[start : start + parameter.numel()].view_as(parameter)
            start += parameter.numel()

    def clear(self) -> None:
        self.buffer.zero_()

    def clip(self, max_norm: float) -> None:
        """Scales the gradient down to `max_norm`; no look at its value, so a GPU is not waited for."""
        self.buffer.mul_((max_norm / (self.buffer.norm() + 1e-6)).clamp(max=1.0))


def build_optimizer(model: nn.Module, config: Training) -> torch.optim.AdamW:
    """AdamW with its state in place; matrices decay, vectors and embeddings do not."""
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    decayed, plain, linear = [], [], []
    for name, parameter in model.named_parameters():
        if name.startswith("purchase.linear"):
            linear.append(parameter)
        elif parameter.ndim >= 2 and id(parameter) not in embeddings:
            decayed.append(parameter)
        else:
            plain.append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay, "factor": 1.0},
        {"params": plain, "weight_decay": 0.0, "factor": 1.0},
        {"params": linear, "weight_decay": 0.0, "factor": _LINEAR_FACTOR},
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)
    for parameter in model.parameters():
        optimizer.state[parameter] = {
            "step": torch.zeros((), device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return optimizer


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


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state by parameter name; the tensors are the live ones."""
    return {
        f"{name}.{key}": optimizer.state[parameter][key]
        for name, parameter in model.named_parameters()
        for key in ("step", "exp_avg", "exp_avg_sq")
    }
