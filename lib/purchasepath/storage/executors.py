"""Executors: whether there are any beside the driver, and what all of them have to say."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

from purchasepath.errors import UserError


class ExecutorsError(UserError):
    """No Python task runs on the executors."""


def on_one_machine(spark: SparkSession) -> bool:
    """Whether executors are threads of the driver's own process."""
    return _is_local(spark.sparkContext.master or "local")


def submitted_to_cluster() -> bool:
    """Whether spark-submit has started this process for a cluster. Starts no session."""
    if "PYSPARK_GATEWAY_PORT" not in os.environ:
        return False
    SparkContext._ensure_initialized()
    return not _is_local(SparkConf().get("spark.master") or "local")


def ask_executors(spark: SparkSession, look: Callable[[Iterable[int]], Iterator[str]]) -> list[str]:
    """What `look` has to say in small tasks on the executors that are there by now; sorted, each answer once.

    Raises ExecutorsError where these tasks do not run.
    """
    context: Any = spark.sparkContext
    num_executors = context._jsc.sc().getExecutorMemoryStatus().size()
    num_tasks = max(context.defaultParallelism, 2 * num_executors)  # Spark deals them to all that have room
    try:
        return sorted(set(context.parallelize(range(num_tasks), num_tasks).mapPartitions(look).collect()))
    except Py4JJavaError as failure:
        told = str(failure.java_exception.getMessage()).splitlines()
        raise ExecutorsError(
            f"a first, small task did not run on the executors ({told[0][:300] if told else failure}); they need "
            "Python 3.11 with the packages of docs/cluster.md where PYSPARK_PYTHON says, or --pack-environment\n"
            + "\n".join(f"  {line}" for line in told[1:12])
        ) from None


def _is_local(master: str) -> bool:
    return master == "local" or master.startswith("local[")  # not local-cluster[…], whose executors are processes
