"""a two-rank allreduce
1 + 2 = 3 on both ranks
HOROVOD_GLOO_IFACE=lo helps where the host name does not resolve; else run: make setup"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import tempfile
from pathlib import Path
from typing import Any


def add_ranks_with_torch(rank: int, meeting: str) -> None:
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    total = torch.tensor([rank + 1.0])
    dist.all_reduce(total)
    if total.item() != 3:
        raise SystemExit(f"expected 3 on both ranks, got {total.item()}")
    dist.destroy_process_group()


def add_ranks() -> tuple[float, bool]:
    import horovod.torch as hvd
    import torch

    hvd.init()
    total = hvd.allreduce(torch.tensor([hvd.rank() + 1.0]), op=hvd.Sum)
    return float(total[0]), bool(hvd.nccl_built())


def listen_on_loopback(make_server: Any) -> tuple[Any, int]:
    """In place of Horovod's `find_port`, whose servers listen on all interfaces."""
    server = make_server(("127.0.0.1", 0))
    return server, server.socket.getsockname()[1]


if __name__ == "__main__":
    if importlib.util.find_spec("horovod"):
        import horovod
        from horovod.runner.common.util import network
        from horovod.runner.http import http_server

        network.find_port = http_server.find_port = listen_on_loopback
        sums = horovod.run(add_ranks, np=2, use_gloo=True)
        if [total for total, _ in sums] != [3.0, 3.0]:
            raise SystemExit(f"expected 3 on both ranks, got {sums}")
        joined = f"Horovod on Gloo{' and NCCL' if sums[0][1] else ''}"
    else:
        from torch.multiprocessing import spawn

        os.environ["GLOO_SOCKET_IFNAME"] = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
        with tempfile.TemporaryDirectory() as scratch:
            spawn(add_ranks_with_torch, args=(str(Path(scratch, "meeting")),), nprocs=2)
        joined = "torch.distributed on Gloo"
    print(json.dumps({"found": f"{joined}, 2 ranks agree"}))
