"""Where tensors live, and in which precision they are multiplied."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Device:
    """`mixed` is the type of mixed precision; None: full float32."""

    device: torch.device
    mixed: torch.dtype | None

    @classmethod
    def choose(cls, precision: str, local_rank: int) -> Device:
        """A GPU of this host's where there is one, each local rank its own; `precision` as in the configuration."""
        cuda = torch.cuda.is_available()
        device = torch.device("cuda", local_rank % torch.cuda.device_count()) if cuda else torch.device("cpu")
        mixed = precision == "bf16" or (precision == "auto" and cuda)
        return cls(device, torch.bfloat16 if mixed else None)

    @property
    def type(self) -> str:
        return self.device.type

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.type, dtype=self.mixed or torch.bfloat16, enabled=self.mixed is not None)
