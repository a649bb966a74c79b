"""Checkpoints that survive a crash at any moment: two files each, nothing pickled.

```
step-00000400.safetensors    weights, best weights, optimizer
step-00000400.json           where training stood, for which config and data, digest of the tensors
```

The JSON is written last and makes the checkpoint count. The newest two are kept, so that a damaged one leaves
its predecessor.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from purchasepath.storage.files import sha256_file, write_file, write_json

_KEPT = 2
_NAME = re.compile(r"step-(\d{8})\.json")


@dataclass(frozen=True)
class Checkpoint:
    """`tensors` by name and `state`, a JSON value."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run in a directory; `fingerprint` tells the run's config and data from others'."""

    def __init__(self, directory: Path, fingerprint: str) -> None:
        self.directory = directory
        self.fingerprint = fingerprint

    def save(self, update: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """A checkpoint after `update` steps; the oldest beyond two go."""
        stem = f"step-{update:08d}"
        weights = self.directory / f"{stem}.safetensors"
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        write_file(weights, lambda temporary: save_file(plain, temporary))
        content = {"fingerprint": self.fingerprint, "sha256": sha256_file(weights), "state": dict(state)}
        write_json(self.directory / f"{stem}.json", content)
        for old in self._descriptions()[_KEPT:]:
            old.unlink()
            old.with_suffix(".safetensors").unlink(missing_ok=True)

    def load(self) -> Checkpoint | None:
        """The newest whole checkpoint of this run, or None."""
        for description in self._descriptions():
            found = self._read(description)
            if found is not None:
                return found
        return None

    def clear(self) -> None:
        """Removes all checkpoints, of this run and of others."""
        for description in self._descriptions():
            description.unlink()
        for weights in self.directory.glob("step-*.safetensors"):
            weights.unlink()

    def _descriptions(self) -> list[Path]:
        """Newest first."""
        if not self.directory.is_dir():
            return []
        return sorted((f for f in self.directory.iterdir() if _NAME.fullmatch(f.name)), reverse=True)

    def _read(self, description: Path) -> Checkpoint | None:
        weights = description.with_suffix(".safetensors")
        try:
            content = json.loads(description.read_text(encoding="utf-8"))
            if content["fingerprint"] != self.fingerprint or content["sha256"] != sha256_file(weights):
                return None
            return Checkpoint(load_file(weights), content["state"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            return None  # damaged: the one before it is used
