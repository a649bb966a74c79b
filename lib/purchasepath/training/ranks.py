"""What training needs from fellow ranks: sum, gather, broadcast, barrier. Horovod and torch behind one door.

Every rank calls the same collectives in the same order; results are the same on all ranks.
"""

from __future__ import annotations

import json
import platform
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol
from zlib import crc32

import torch
from torch import Tensor, distributed
from torch.nn import functional

_POLL_SECONDS = 0.0003
"""Horovod's own wait sleeps 100 ns at a time: a storm of system calls that takes a core from the rank waited for. On
two cores two ranks spent more time in it than in the model (docs/experiments.md)."""


STALL_SECONDS = 180
"""A rank that waits this long for another one gives up: a dead rank must not hang the others."""


class RanksLostError(RuntimeError):
    """A collective failed because another rank is gone, or waited too long for it."""


class RanksChangedError(RanksLostError):
    """Other ranks are there to take part: all ranks are to be counted anew."""


class Ranks(Protocol):
    """One process among `size`; `local_rank` counts those on the same host."""

    rank: int
    size: int
    local_rank: int
    local_size: int

    def sum_(self, tensor: Tensor) -> Tensor:
        """`tensor`, replaced in place by its sum over all ranks."""
        ...

    def gather(self, tensor: Tensor) -> Tensor:
        """The ranks' one-dimensional tensors, in the order of ranks; their lengths may differ."""
        ...

    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        """Replaces each tensor in place by rank 0's."""
        ...

    def barrier(self) -> None:
        """Returns once every rank has called it."""
        ...

    def may_change(self) -> None:
        """Called by every rank where nothing is lost; raises RanksChangedError where others wait to take part."""
        ...


class SoloRanks:
    """The only rank: every collective is the identity."""

    rank = 0
    size = 1
    local_rank = 0
    local_size = 1

    def sum_(self, tensor: Tensor) -> Tensor:
        return tensor

    def gather(self, tensor: Tensor) -> Tensor:
        return tensor

    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        return None

    def barrier(self) -> None:
        return None

    def may_change(self) -> None:
        return None


class HorovodRanks:
    """Horovod's collectives. Made after Horovod's launcher has set the environment, again only after `close`.

    `newcomers` is True in a process that was told of ranks that wait to take part; None: nobody ever will.
    """

    def __init__(self, newcomers: Callable[[], bool] | None = None) -> None:
        import horovod.torch as hvd  # only processes that train on several ranks need Horovod installed
        from horovod.common.exceptions import HorovodInternalError

        hvd.init()
        self._hvd, self._lost = hvd, HorovodInternalError
        self.rank: int = hvd.rank()
        self.size: int = hvd.size()
        self.newcomers = newcomers
        hosts = self.gather(torch.tensor([crc32(platform.node().encode())], dtype=torch.int64)).tolist()
        self.local_rank: int = hosts[: self.rank].count(hosts[self.rank])  # Horovod takes elastic ranks for hosts
        self.local_size: int = hosts.count(hosts[self.rank])

    def sum_(self, tensor: Tensor) -> Tensor:
        if not self._takes(tensor):
            return tensor.copy_(self.sum_(tensor.cpu()))
        with _raising_lost(self._lost):
            return self._wait(self._hvd.allreduce_async_(tensor, op=self._hvd.Sum))

    def gather(self, tensor: Tensor) -> Tensor:
        if not self._takes(tensor):
            return self.gather(tensor.cpu()).to(tensor.device)
        with _raising_lost(self._lost):
            return self._wait(self._hvd.allgather_async(tensor))

    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        sent = [(tensor, tensor if self._takes(tensor) else tensor.cpu()) for tensor in tensors]
        with _raising_lost(self._lost):
            handles = [self._hvd.broadcast_async_(copy, 0) for _, copy in sent]
            for (tensor, copy), handle in zip(sent, handles, strict=True):
                self._wait(handle)
                if copy is not tensor:
                    tensor.copy_(copy)

    def barrier(self) -> None:
        with _raising_lost(self._lost):
            self._hvd.barrier()

    def may_change(self) -> None:
        if self.newcomers is not None and self.sum_(torch.tensor([float(self.newcomers())])).item():
            raise RanksChangedError("other ranks are there to take part")

    def _takes(self, tensor: Tensor) -> bool:
        """A Horovod built without NCCL exchanges tensors of the CPU only."""
        return not tensor.is_cuda or bool(self._hvd.nccl_built())

    def _wait(self, handle: int) -> Tensor:
        """The collective's tensor, once it is done; a failure is raised then."""
        while not self._hvd.poll(handle):
            time.sleep(_POLL_SECONDS)
        return self._hvd.synchronize(handle)

    def close(self) -> None:
        self._hvd.shutdown()


class TorchRanks:
    """torch.distributed's collectives: NCCL for tensors of a GPU, Gloo for the others. One group per process.

    `hosts` are those of all ranks, in order; `address` is this host's, for other ranks; `say` tells rank 0's word to
    all ranks.
    """

    def __init__(self, rank: int, hosts: Sequence[str], address: str, say: Callable[[str], str]) -> None:
        self.rank, self.size = rank, len(hosts)
        self.local_rank = hosts[:rank].count(hosts[rank])
        self.local_size = hosts.count(hosts[rank])
        patience = timedelta(seconds=STALL_SECONDS)
        store, place = None, ""
        if rank == 0:  # torch's own socket would listen on all interfaces; port 0: one that is free
            listener = socket.create_server((address, 0))
            port = listener.getsockname()[1]
            store = distributed.TCPStore(address, port, self.size, True, patience, wait_for_workers=False,
                                         master_listen_fd=listener.detach())
            place = f"{address}:{port}"
        host, _, port = say(place).rpartition(":")
        store = store or distributed.TCPStore(host, int(port), self.size, False, patience)
        nccl = torch.cuda.is_available() and distributed.is_nccl_available()
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if nccl else "gloo", store=store, rank=rank, world_size=self.size, timeout=patience
        )

    def sum_(self, tensor: Tensor) -> Tensor:
        with _raising_lost(RuntimeError):  # Gloo has no kind of its own
            distributed.all_reduce(tensor)
        return tensor

    def gather(self, tensor: Tensor) -> Tensor:
        with _raising_lost(RuntimeError):  # Gloo has no kind of its own
            lengths = [torch.zeros(1, dtype=torch.int64, device=tensor.device) for _ in range(self.size)]
            distributed.all_gather(lengths, torch.full_like(lengths[0], len(tensor)))
            sizes = torch.cat(lengths).tolist()
            padded = [tensor.new_zeros(max(sizes)) for _ in sizes]  # Gloo and NCCL gather equal lengths only
            distributed.all_gather(padded, functional.pad(tensor, (0, max(sizes) - len(tensor))))
        return torch.cat([part[:size] for part, size in zip(padded, sizes, strict=True)])

    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        with _raising_lost(RuntimeError):  # Gloo has no kind of its own
            for tensor in tensors:
                distributed.broadcast(tensor, 0)

    def barrier(self) -> None:
        with _raising_lost(RuntimeError):  # Gloo has no kind of its own
            distributed.barrier()

    def may_change(self) -> None:
        return None  # the tasks of a barrier stage are what they are

    def close(self) -> None:
        distributed.destroy_process_group()


@contextmanager
def _raising_lost(kind: type[Exception]) -> Iterator[None]:
    """What the backend raises when a collective fails, as RanksLostError."""
    try:
        yield
    except kind as error:
        raise RanksLostError(str(error)) from error


def share_json(value: dict[str, Any], ranks: Ranks) -> dict[str, Any]:
    """Rank 0's JSON value on every rank."""
    encoded = json.dumps(value).encode()
    length = torch.tensor([len(encoded)], dtype=torch.int64)
    ranks.broadcast_([length])
    content = torch.zeros(int(length), dtype=torch.uint8)
    if ranks.rank == 0:
        content.copy_(torch.frombuffer(bytearray(encoded), dtype=torch.uint8))
    ranks.broadcast_([content])
    return json.loads(bytes(content.tolist()))
