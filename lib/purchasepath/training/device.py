"""Where tensors live, and in which precision they are multiplied."""

from __future__ import annotations

import ctypes
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


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 1 << 30


def keep_freed_memory() -> None:
    """Lets the C library keep what is freed for the next step, up to a gigabyte, instead of returning it to the system.

    A step's scores are tens of megabytes, which come back as page faults at the next step otherwise: on virtual
    machines they may cost as much as the matrix products (docs/experiments.md). Does nothing where there is no glibc.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        library.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
