"""In-memory feeds of known data for the training tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch

from purchasepath.datasets.batch import Batch

NUM_FEATURES = 3


@dataclass(frozen=True)
class Example:
    """One user's events: items (target of each is the next one) and, maybe, one as-of point after the last event."""

    items: Sequence[int]
    bought: float | None = None
    features: Sequence[float] = (0.0, 0.0, 0.0)
    targets: Sequence[int] = field(default=())

    @property
    def next_items(self) -> Sequence[int]:
        return self.targets or [*self.items[1:], 0]


def make_batch(examples: Sequence[Example], length: int | None = None) -> Batch:
    """Right-padded tensors of the examples; gaps and prices are plain functions of the items."""
    longest = length or max((len(e.items) for e in examples), default=1)
    item = np.zeros((len(examples), longest), dtype=np.int64)
    target = np.zeros_like(item)
    kind = np.zeros_like(item)
    for row, example in enumerate(examples):
        item[row, : len(example.items)] = example.items
        target[row, : len(example.items)] = example.next_items
        kind[row, : len(example.items)] = 1
    points = [(row, e) for row, e in enumerate(examples) if e.bought is not None]
    return Batch(
        item_BL=torch.from_numpy(item),
        type_BL=torch.from_numpy(kind),
        gap_BL=torch.from_numpy((item % 5).astype(np.float32)),
        price_BL=torch.from_numpy((item % 3).astype(np.float32)),
        target_BL=torch.from_numpy(target),
        outcome_BL=torch.from_numpy(np.where(kind > 0, 2 + item % 2, 0)),
        row_P=torch.tensor([row for row, _ in points], dtype=torch.int64),
        position_P=torch.tensor([len(e.items) - 1 for _, e in points], dtype=torch.int64),
        idle_P=torch.ones(len(points)),
        features_PF=torch.tensor([e.features for _, e in points], dtype=torch.float32).reshape(-1, NUM_FEATURES),
        bought_P=torch.tensor([e.bought for _, e in points], dtype=torch.float32),
        churned_P=torch.tensor([1.0 - (e.bought or 0.0) for _, e in points], dtype=torch.float32),
    )


@dataclass
class MemoryFeed:
    """Rank `rank`'s share: example i of a step's batch belongs to rank i % size, as with the real feed's lanes."""

    train: Sequence[Example]
    valid: Sequence[Example]
    batch_size: int
    rank: int = 0
    size: int = 1
    seed: int = 0
    fail_after: int | None = None
    """Raises KilledError before the batch of this number (counted over all epochs), as a killed process would stop."""
    delivered: int = 0

    def steps(self, split: str) -> int:
        return max(1, -(-len(self._examples(split)) // self.batch_size))

    @contextmanager
    def batches(self, split: str, epoch: int, start_step: int = 0) -> Iterator[Iterator[Batch]]:
        yield self._batches(split, epoch, start_step)

    def _batches(self, split: str, epoch: int, start_step: int) -> Iterator[Batch]:
        examples = self._examples(split)
        order = np.arange(len(examples))
        if split == "train":
            order = np.random.default_rng((self.seed, epoch)).permutation(len(examples))
        for step in range(start_step, self.steps(split)):
            if split == "train":
                if self.fail_after is not None and self.delivered >= self.fail_after:
                    raise KilledError
                self.delivered += 1
            chosen = order[step * self.batch_size : (step + 1) * self.batch_size][self.rank :: self.size]
            yield make_batch([examples[i] for i in chosen])

    def _examples(self, split: str) -> Sequence[Example]:
        return self.train if split == "train" else self.valid


class KilledError(Exception):
    """Stands for a kill in the middle of an epoch."""
