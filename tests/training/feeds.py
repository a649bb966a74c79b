"""In-memory feeds of known data for the training tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from torch.nn.functional import pad

from purchasepath.datasets.batch import Batch, batch_from_rows
from purchasepath.datasets.rows import EVENT_COLUMNS, POINT_COLUMNS, Rows
from purchasepath.tables.tasks import LABEL_NAMES
from tests.tiny_bundle import labels_of

NUM_FEATURES = 3


@dataclass(frozen=True)
class Example:
    """One user's events: items (target of each is the next one) and, maybe, one as-of point after the last event."""

    items: Sequence[int]
    bought: float | None = None
    features: Sequence[float] = (0.0, 0.0, 0.0)
    targets: Sequence[int] = field(default=())
    labels: Mapping[str, float] = field(default_factory=dict)

    @property
    def next_items(self) -> Sequence[int]:
        return self.targets or [*self.items[1:], 0]


def make_rows(examples: Sequence[Example]) -> Rows:
    """The examples; gaps and prices are plain functions of the items."""
    told = [e for e in examples if e.bought is not None]
    item_N = np.array([item for e in examples for item in e.items], dtype=np.int32)
    events = {
        "item": item_N, "type": np.ones_like(item_N), "target": [item for e in examples for item in e.next_items],
        "outcome": 2 + item_N % 2, "gap": item_N % 5, "price": item_N % 3,
    }
    points = {"point": [len(e.items) - 1 for e in told], "idle": np.ones(len(told))}
    labels = [labels_of(**{"purchase": e.bought or 0.0, "value": (e.bought or 0.0) * 30.0, **e.labels}) for e in told]
    return Rows(
        np.array([len(e.items) for e in examples], dtype=np.int64),
        np.array([e.bought is not None for e in examples], dtype=np.int64),
        _stacked(events, EVENT_COLUMNS, len(item_N)), _stacked(points, POINT_COLUMNS, len(told)),
        np.array([e.features for e in told], dtype=np.float32).reshape(-1, NUM_FEATURES),
        np.array(labels, dtype=np.float32).reshape(-1, len(LABEL_NAMES)),
    )


def make_batch(examples: Sequence[Example], length: int | None = None) -> Batch:
    """The examples, padded to the longest one or to `length`."""
    batch = batch_from_rows(make_rows(examples))
    more = (length or 0) - batch.item_BL.shape[1]
    padded = {f.name: getattr(batch, f.name) for f in fields(batch) if f.name.endswith("_BL")}
    return replace(batch, **{name: pad(tensor_BL, (0, max(0, more))) for name, tensor_BL in padded.items()})


def _stacked(values: Mapping[str, Any], columns: Mapping[str, type[np.generic]], count: int) -> np.ndarray:
    """By the columns; floats by their bits."""
    return np.array([np.asarray(values[name], dtype).view(np.int32) for name, dtype in columns.items()]).reshape(
        len(columns), count)


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
    def batches(self, split: str, epoch: int, start_step: int = 0) -> Iterator[Iterator[Rows]]:
        yield self._batches(split, epoch, start_step)

    def _batches(self, split: str, epoch: int, start_step: int) -> Iterator[Rows]:
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
            yield make_rows([examples[i] for i in chosen])

    def _examples(self, split: str) -> Sequence[Example]:
        return self.train if split == "train" else self.valid


class KilledError(Exception):
    """Stands for a kill in the middle of an epoch."""
