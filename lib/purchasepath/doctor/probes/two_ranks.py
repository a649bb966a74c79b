"""a two-rank allreduce
1 + 2 = 3 on both ranks
HOROVOD_GLOO_IFACE=lo helps where the host name does not resolve; else run: make setup"""

from __future__ import annotations

import json


def add_ranks() -> tuple[float, bool]:
    import horovod.torch as hvd
    import torch

    hvd.init()
    total = hvd.allreduce(torch.tensor([hvd.rank() + 1.0]), op=hvd.Sum)
    return float(total[0]), bool(hvd.nccl_built())


if __name__ == "__main__":
    import horovod

    sums = horovod.run(add_ranks, np=2, use_gloo=True)
    if [total for total, _ in sums] != [3.0, 3.0]:
        raise SystemExit(f"expected 3 on both ranks, got {sums}")
    print(json.dumps({"found": f"Gloo{' and NCCL' if sums[0][1] else ''}, 2 ranks agree"}))
