"""A training feed from memory: items only, no times, no prices, no user features.

Legend: B examples, C event columns, N events of all examples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from benchmarks.literature.sets import Example
from purchasepath.datasets.rows import EVENT_COLUMNS, Rows, no_rows
from purchasepath.tables.tasks import LABEL_NAMES

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

    def batches(self, split: str, epoch: int, start_step: int = 0) -> AbstractContextManager[Iterable[Rows]]:
        return nullcontext(self._batches(split, epoch, start_step))

    def _batches(self, split: str, epoch: int, start_step: int) -> Iterator[Rows]:
        examples, size = self._examples(split), self._batch_size(split)
        order = np.arange(len(examples))
        if split == "train":
            order = np.random.default_rng((self.seed, epoch)).permutation(len(examples))
        for step in range(start_step, self.steps(split)):
            yield make_rows([examples[i] for i in order[step * size : (step + 1) * size]])

    def _examples(self, split: str) -> Sequence[Example]:
        return self.train if split == "train" else self.valid

    def _batch_size(self, split: str) -> int:
        return self.batch_size if split == "train" else _VALID_BATCH_SIZE


def make_rows(examples: Sequence[Example]) -> Rows:
    """The examples; every event is of type 1."""
    length_B = np.array([len(example.items) for example in examples], dtype=np.int64)
    known = {
        "item": np.concatenate([example.items for example in examples]), "type": 1,
        "target": np.concatenate([example.targets for example in examples]),
    }
    events_CN: np.ndarray = np.zeros((len(EVENT_COLUMNS), length_B.sum()), np.int32)
    for values_N, name in zip(events_CN, EVENT_COLUMNS, strict=True):
        values_N[:] = known.get(name, 0)
    none = no_rows(num_features=0, num_labels=len(LABEL_NAMES))
    return Rows(length_B, np.zeros_like(length_B), events_CN, none.points_CP, none.features_PF, none.labels_PT)
