"""Ranks as the tasks of a Spark barrier stage, joined by torch.distributed: for hosts where Horovod cannot be built.

Spark starts all tasks of a barrier stage together and ends all when one dies. A rank runs inside its task's Python
worker; rank 0 opens a store on a free port, the others learn its address through Spark.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from py4j.protocol import Py4JJavaError

from purchasepath.training.failures import Failure, Task, lost_ranks, raise_first, run_task
from purchasepath.training.ranks import TorchRanks

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def run_as_barrier_stage(task: Task, request: str, spark: SparkSession, num_ranks: int) -> None:
    """Returns once `task(ranks, request)` has returned on every rank."""
    local = (spark.sparkContext.master or "").startswith("local")
    stage = spark.sparkContext.parallelize(range(num_ranks), num_ranks).barrier()
    try:
        outcomes = stage.mapPartitions(_Rank(task, request, local)).collect()
    except Py4JJavaError as failure:
        raise lost_ranks(num_ranks, str(failure.java_exception.getMessage())) from failure
    raise_first(outcome for outcome in outcomes if outcome is not None)


class _Rank:
    """What a task of the stage does."""

    def __init__(self, task: Task, request: str, local: bool) -> None:
        self.task, self.request, self.local = task, request, local

    def __call__(self, numbers: Iterable[int]) -> Iterator[Failure | None]:
        from pyspark import BarrierTaskContext

        context = BarrierTaskContext.get()
        hosts = ["127.0.0.1" if self.local else info.address.rpartition(":")[0] for info in context.getTaskInfos()]
        if self.local:  # a laptop may have no other network
            os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        ranks = TorchRanks(context.partitionId(), hosts, lambda word: str(context.allGather(word)[0]))
        try:
            yield run_task(self.task, ranks, self.request)
        finally:
            ranks.close()  # Spark gives this process other tasks afterwards
