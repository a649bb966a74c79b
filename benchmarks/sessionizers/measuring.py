"""What a process and everything it started used: wall time, CPU time, peak memory; and what Spark says of its tasks."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@contextmanager
def measured() -> Iterator[dict[str, float]]:
    """Fills in `seconds`, `cpu_seconds` (all processes below this one) and `peak_mb` (their resident memory)."""
    used: dict[str, float] = {}
    done = threading.Event()
    peak = 0.0

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.25):
            peak = max(peak, sum(_each(lambda p: p.memory_info().rss)))

    watcher = threading.Thread(target=watch)
    cpu, clock = _cpu_seconds(), time.perf_counter()
    watcher.start()
    try:
        yield used
    finally:
        done.set()
        watcher.join()
    used |= {"seconds": time.perf_counter() - clock, "cpu_seconds": _cpu_seconds() - cpu, "peak_mb": peak / 1e6}


def spark_figures(spark: SparkSession) -> dict[str, float]:
    """`shuffle_mb`, `spill_mb`; `slowest_to_median`: run times of the `tasks` of the longest stage behind a shuffle."""
    stages = _stages(spark)
    behind = [s for s in stages if s.shuffleReadBytes() and s.numCompleteTasks() > 2]
    figures = {"shuffle_mb": sum(s.shuffleWriteBytes() for s in stages) / 1e6,
               "spill_mb": sum(s.diskBytesSpilled() for s in stages) / 1e6}
    if behind:
        longest = max(behind, key=lambda s: s.executorRunTime())
        times = _task_times(spark, longest)
        figures |= {"slowest_to_median": max(times) / statistics.median(times), "tasks": len(times)}
    return figures


def _each(read: Any) -> list[float]:
    found = []
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        try:
            found.append(read(process))
        except psutil.Error:
            continue  # it ended meanwhile
    return found


def _cpu_seconds() -> float:
    """Of all living processes, and of those that ended and were waited for."""
    return sum(_each(lambda p: sum(p.cpu_times()[:4])))


def _stages(spark: SparkSession) -> list[Any]:
    context: Any = spark.sparkContext
    no_quantiles = context._gateway.new_array(context._jvm.double, 0)
    found = context._jsc.sc().statusStore().stageList(None, False, False, no_quantiles, None)
    return [found.apply(i) for i in range(found.size())]


def _task_times(spark: SparkSession, stage: Any) -> list[float]:
    context: Any = spark.sparkContext
    tasks = context._jsc.sc().statusStore().taskList(stage.stageId(), stage.attemptId(), 10_000)
    return [tasks.apply(i).taskMetrics().get().executorRunTime() / 1000 for i in range(tasks.size())]
