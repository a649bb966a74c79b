"""Elastic ranks: where one is lost the others go on, and one that comes later takes part from the next checkpoint on.

All that training has learned is in its checkpoints, and the batch of a step is the same for any number of ranks. So
ranks whose number changes begin the task again and go on from the newest checkpoint; nothing else is handed over.
"""

from __future__ import annotations

import os

from purchasepath.training.failures import Failure, Task, run_task
from purchasepath.training.interfaces import horovod_listens_on
from purchasepath.training.ranks import HorovodRanks


class Newcomers:
    """Whether Horovod's driver has told this process that other ranks could take part."""

    def __init__(self) -> None:
        self.waiting = False

    def on_hosts_updated(self, at: int, change: int) -> None:
        """Called by Horovod, from a thread of its own."""
        self.waiting = True


def run_while_ranks_change(task: Task, request: str) -> Failure | None:
    """Runs the task on this rank, again whenever the ranks have become others."""
    from horovod.common.elastic import notification_manager  # as in ranks.py

    newcomers = Newcomers()
    with horovod_listens_on(os.environ["HOROVOD_GLOO_IFACE"]):
        notification_manager.init()
    notification_manager.register_listener(newcomers)
    num_ranks = 0
    while True:
        newcomers.waiting = False
        ranks = HorovodRanks(lambda: newcomers.waiting)
        if num_ranks and ranks.rank == 0:
            print(f"train: the ranks changed from {num_ranks} to {ranks.size}", flush=True)
        num_ranks = ranks.size
        try:
            outcome = run_task(task, ranks, request)
        finally:
            ranks.close()
        if outcome is None or not outcome.followed:
            return outcome
