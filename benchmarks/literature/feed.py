"""A training feed from memory: items only, no times, no prices, no user features.

Legend: B examples, L padded length.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.literature.sets import Example
from purchasepath.datasets.batch import Batch

_VALID_BATCH_SIZE = 512


@dataclass(frozen=True)
class MemoryFeed:
    """The feed of one rank. `train` is shuffled anew every epoch; `valid` comes as it is."""

    train: Sequence[Example]
    valid: Sequence[Example]
    batch_size: int
    seed: int

    def steps(self, split: str) -> int:
        return -(-len(self._examples(split)) // self._batch_size(split))

    def batches(self, split: str, epoch: int, start_step: int = 0) -> AbstractContextManager[Iterable[Batch]]:
        return nullcontext(self._batches(split, epoch, start_step))

    def _batches(self, split: str, epoch: int, start_step: int) -> Iterator[Batch]:
        examples, size = self._examples(split), self._batch_size(split)
        order = np.arange(len(examples))
        if split == "train":
            order = np.random.default_rng((self.seed, epoch)).permutation(len(examples))
        for step in range(start_step, self.steps(split)):
            yield make_batch([examples[i] for i in order[step * size : (step + 1) * size]])

    def _examples(self, split: str) -> Sequence[Example]:
        return self.train if split == "train" else self.valid

    def _batch_size(self, split: str) -> int:
        return self.batch_size if split == "train" else _VALID_BATCH_SIZE


def make_batch(examples: Sequence[Example]) -> Batch:
    """The examples, padded on the right; every event is of type 1."""
    shape = len(examples), max(len(example.items) for example in examples)
    item_BL, target_BL = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for row, example in enumerate(examples):
        item_BL[row, : len(example.items)] = example.items
        target_BL[row, : len(example.items)] = example.targets
    item = torch.from_numpy(item_BL)
    return Batch(
        item_BL=item,
        type_BL=(item > 0).long(),
        gap_BL=torch.zeros(shape),
        price_BL=torch.zeros(shape),
        target_BL=torch.from_numpy(target_BL),
        outcome_BL=torch.zeros(shape, dtype=torch.int64),
        row_P=torch.zeros(0, dtype=torch.int64),
        position_P=torch.zeros(0, dtype=torch.int64),
        idle_P=torch.zeros(0),
        features_PF=torch.zeros(0, 0),
        bought_P=torch.zeros(0),
        churned_P=torch.zeros(0),
    )
