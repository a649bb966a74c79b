"""Where batches come from: every rank asks its feed, and every rank is given the same number of steps."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from purchasepath.datasets.reader import ExampleReader
from purchasepath.datasets.shards import num_steps

if TYPE_CHECKING:
    from purchasepath.config import Training
    from purchasepath.datasets.manifest import Manifest
    from purchasepath.datasets.rows import Rows
    from purchasepath.training.ranks import Ranks

_VALID_BATCH_SIZE = 512
"""Nothing is learned from these batches; large ones hold more examples of like length, so less padding."""


class Feed(Protocol):
    """One rank's share of the splits `train` and `valid`."""

    def steps(self, split: str) -> int:
        """Steps of one epoch, the same on every rank."""
        ...

    def batches(self, split: str, epoch: int, start_step: int = 0) -> AbstractContextManager[Iterable[Rows]]:
        """The batches of steps `start_step … steps - 1`; training batches come in an order of their own each epoch."""
        ...


@dataclass(frozen=True)
class DatasetFeed:
    """The feed from a dataset on disk."""

    directory: Path
    manifest: Manifest
    ranks: Ranks
    config: Training

    def steps(self, split: str) -> int:
        return num_steps(self._seen(split).rows(split), self._batch_size(split))

    def batches(self, split: str, epoch: int, start_step: int = 0) -> AbstractContextManager[Iterable[Rows]]:
        if not self.manifest.rows(split):
            return nullcontext(())
        return ExampleReader(
            self._seen(split),
            self.directory,
            split,
            rank=self.ranks.rank,
            num_ranks=self.ranks.size,
            lanes=self.config.lanes,
            batch_size=self._batch_size(split),
            seed=self.config.seed,
            epoch=epoch,
            start_step=start_step,
            shuffle=split == "train",
        )

    def _batch_size(self, split: str) -> int:
        return self.config.batch_size if split == "train" else max(self.config.batch_size, _VALID_BATCH_SIZE)

    def _seen(self, split: str) -> Manifest:
        """The manifest with as much of the split as training looks at: all of `train`, a sample of `valid`."""
        if split == "train":
            return self.manifest
        groups, rows = [], 0
        for group in self.manifest.splits[split]:
            if rows >= self.config.valid_examples:
                break
            groups.append(group)
            rows += group.rows
        return replace(self.manifest, splits={**self.manifest.splits, split: tuple(groups)})
