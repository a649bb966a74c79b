"""Ranks as the tasks of a Spark barrier stage, joined by torch.distributed: for hosts where Horovod cannot be built.

Spark starts all tasks of a barrier stage together and ends all when one dies. A rank runs inside its task's Python
worker; rank 0 opens a store on a free port, the others learn where through Spark.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from py4j.protocol import Py4JJavaError

from purchasepath.training.failures import Failure, Task, lost_ranks, raise_first, run_task
from purchasepath.training.interfaces import address_of, choose_interface
from purchasepath.training.ranks import TorchRanks

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from purchasepath.config import Training


def run_as_barrier_stage(task: Task, request: str, spark: SparkSession, config: Training) -> None:
    """Returns once `task(ranks, request)` has returned on every rank."""
    num_ranks, interface = config.ranks, choose_interface(spark, config)
    stage = spark.sparkContext.parallelize(range(num_ranks), num_ranks).barrier()
    try:
        outcomes = stage.mapPartitions(_Rank(task, request, interface)).collect()
    except Py4JJavaError as failure:
        raise lost_ranks(num_ranks, str(failure.java_exception.getMessage())) from failure
    raise_first(outcome for outcome in outcomes if outcome is not None)


class _Rank:
    """What a task of the stage does."""

    def __init__(self, task: Task, request: str, interface: str) -> None:
        self.task, self.request, self.interface = task, request, interface

    def __call__(self, numbers: Iterable[int]) -> Iterator[Failure | None]:
        from pyspark import BarrierTaskContext

        context = BarrierTaskContext.get()
        hosts = [info.address.rpartition(":")[0] for info in context.getTaskInfos()]
        for backend in ("GLOO", "NCCL"):
            os.environ[f"{backend}_SOCKET_IFNAME"] = self.interface
        ranks = TorchRanks(context.partitionId(), hosts, address_of(self.interface),
                           lambda word: str(context.allGather(word)[0]))
        try:
            yield run_task(self.task, ranks, self.request)
        finally:
            ranks.close()  # Spark gives this process other tasks afterwards
