"""Where batches come from: every rank asks its feed, and every rank is given the same number of steps."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from purchasepath.datasets.batch import Batch


class Feed(Protocol):
    """One rank's share of the splits `train` and `valid`."""

    def steps(self, split: str) -> int:
        """Steps of one epoch, the same on every rank."""
        ...

    def batches(self, split: str, epoch: int, start_step: int = 0) -> AbstractContextManager[Iterable[Batch]]:
        """The batches of steps `start_step … steps - 1`; training batches come in an order of their own each epoch."""
        ...
