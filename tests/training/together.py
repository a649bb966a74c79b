"""Several ranks as threads of this process: the in-memory twin of the backends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError
from typing import Any

import torch
from torch import Tensor


class ThreadRanks:
    """One of `size` ranks that meet at a barrier; tensors are added up in the order of ranks."""

    def __init__(self, rank: int, meeting: Barrier, table: list[Any]) -> None:
        self.rank = self.local_rank = rank
        self.size = self.local_size = meeting.parties
        self.meeting, self.table = meeting, table
        self.sent_bytes = 0

    def sum_(self, tensor: Tensor) -> Tensor:
        return tensor.copy_(torch.stack(self._exchange(tensor)).sum(dim=0))

    def gather(self, tensor: Tensor) -> Tensor:
        return torch.cat(self._exchange(tensor))

    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            tensor.copy_(self._exchange(tensor)[0])

    def barrier(self) -> None:
        self.meeting.wait()

    def may_change(self) -> None:
        return None

    def _exchange(self, tensor: Tensor) -> list[Tensor]:
        self.sent_bytes += tensor.nbytes
        self.table[self.rank] = tensor.clone()
        self.meeting.wait()
        everybodys = list(self.table)
        self.meeting.wait()  # nobody puts down the next one before all have looked
        return everybodys


def together(size: int, task: Callable[[ThreadRanks], Any]) -> list[Any]:
    """What `task` returns on each of `size` ranks."""
    meeting, table = Barrier(size, timeout=60), [None] * size

    def run(rank: int) -> Any:
        try:
            return task(ThreadRanks(rank, meeting, table))
        except BaseException:
            meeting.abort()
            raise

    with ThreadPoolExecutor(size) as threads:
        running = [threads.submit(run, rank) for rank in range(size)]
    failures = [ended.exception() for ended in running if ended.exception() is not None]
    for failure in sorted(failures, key=lambda failure: isinstance(failure, BrokenBarrierError)):
        raise failure  # the first to fail; the others only missed it
    return [ended.result() for ended in running]
