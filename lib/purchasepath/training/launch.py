"""Starts the ranks: in this process for one, on Spark with Horovod or torch.distributed for several.

`horovod.spark.run` starts one process beside each of N Spark tasks, on a laptop and on a cluster alike; the ranks of
torch.distributed are the tasks of a barrier stage. A rank's task is a module-level function `task(ranks, request)`
with a text for `request`: what crosses the process border is a name and a string, never a closure over frames. Ranks
exchange results through files.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from purchasepath.errors import ConfigError, UserError
from purchasepath.training.barrier import run_as_barrier_stage
from purchasepath.training.elastic import run_while_ranks_change
from purchasepath.training.failures import Failure, Task, lost_ranks, raise_first, run_task
from purchasepath.training.interfaces import choose_interface, horovod_tasks_listen_on
from purchasepath.training.ranks import STALL_SECONDS, HorovodRanks, SoloRanks

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from purchasepath.config import Training

_STALL_WARNING_SECONDS = 60
_MOST_CHANGES = 100
"""Of elastic ranks; a fault that comes back at once must not keep them busy for ever."""
_LOCAL_ATTEMPTS = 4
"""As many as a cluster gives a task by default."""


def run_on_ranks(task: Task, request: str, *, spark: Callable[[], SparkSession], config: Training) -> None:
    """Returns once `task(ranks, request)` has returned on every rank.

    `spark` is asked for a session only when there is more than one rank.
    """
    if config.backend == "solo" and config.ranks > 1:
        raise ConfigError([
            "training.backend=solo trains on one rank: add --set training.ranks=1, or use horovod or torch"
        ])
    backend = chosen_backend(config)
    if config.elastic and backend != "horovod":
        raise ConfigError([
            f"training.elastic needs training.backend=horovod, found {backend}; its ranks stay the same to the "
            "end, and where one is lost the same command, started again, goes on from the last checkpoint"
        ])
    if config.ranks == 1:
        task(SoloRanks(), request)
        return
    session = spark()
    check_slots(session, config.ranks, elastic=config.elastic)
    if backend == "torch":
        run_as_barrier_stage(task, request, session, config)
    else:
        _run_with_horovod(task, request, session, config)


def chosen_backend(config: Training) -> str:
    """What joins the ranks: `training.backend`, and where that is `auto`, Horovod if it is installed."""
    if config.backend != "auto":
        return config.backend
    return "horovod" if importlib.util.find_spec("horovod") else "torch"


def check_slots(spark: SparkSession, num_ranks: int, *, elastic: bool = False) -> None:
    """Raises UserError where a local Spark cannot run `num_ranks` tasks at once; the ranks would wait forever.

    With `elastic` also where it would not start a task again.
    """
    master = spark.sparkContext.master or ""
    if not master.startswith("local"):
        return  # executors may still be on their way; `training.timeout_minutes` ends the wait
    cores = re.fullmatch(r"local(?:\[(\d+|\*)(?:,\s*(\d+))?\])?", master)
    if cores is None:
        return
    named = cores.group(1) or "1"
    slots = (os.cpu_count() or 1) if named == "*" else int(named)
    if slots < num_ranks:
        raise UserError(
            f"{master} has {slots} task slot{'s' if slots > 1 else ''} for {num_ranks} ranks and every rank needs "
            f"its own; use --master local[{num_ranks}], or train with --set training.ranks={slots}"
        )
    if elastic and int(cores.group(2) or 1) < _LOCAL_ATTEMPTS:
        raise UserError(
            f"{master} gives up with the first task that fails, and training.elastic lives on tasks that are started "
            f"again; use --master local[{slots},{_LOCAL_ATTEMPTS}]"
        )


def _run_with_horovod(task: Task, request: str, spark: SparkSession, config: Training) -> None:
    import horovod.spark  # a driver that trains on one rank needs no Horovod installed

    interface = choose_interface(spark, config)
    output, errors = RankOutput(sys.stdout), RankOutput(None)
    logging.getLogger().addFilter(_is_news)
    wanted: dict[str, Any] = {
        "args": (task, request), "num_proc": config.ranks, "start_timeout": int(config.timeout_minutes * 60),
        "env": _environment(interface), "stdout": output, "stderr": errors, "verbose": 0,
        "nics": {interface},
    }
    try:
        with horovod_tasks_listen_on(interface), _job_thread_keeps_quiet():
            if config.elastic:
                outcomes = horovod.spark.run_elastic(
                    run_while_ranks_change, min_num_proc=1, max_num_proc=config.ranks, reset_limit=_MOST_CHANGES,
                    elastic_timeout=int(config.timeout_minutes * 60), **wanted,
                )
            else:
                executable = os.environ.get("PYSPARK_PYTHON", sys.executable)
                outcomes = horovod.spark.run(_rank_main, use_gloo=True, executable=executable, **wanted)
    except Exception as failure:
        told = "\n".join(f"  {line}" for line in errors.last) or "  (no output)"
        raise lost_ranks(config.ranks, f"{failure}\nlast lines of the ranks:\n{told}") from failure
    finally:
        logging.getLogger().removeFilter(_is_news)
    raise_first(outcome for outcome in outcomes if outcome is not None)


def _rank_main(task: Task, request: str) -> Failure | None:
    """Runs the task on this rank. Leaving Horovod fails the collectives that the others wait in, so none hangs."""
    ranks = HorovodRanks()
    try:
        return run_task(task, ranks, request)
    finally:
        ranks.close()


@contextmanager
def _job_thread_keeps_quiet() -> Iterator[None]:
    """Horovod waits for its Spark job in a thread whose failure it tells the caller; Python would print it, too, with
    a traceback where Ctrl-C or TERM has ended the job."""
    before = threading.excepthook

    def hook(failure: threading.ExceptHookArgs) -> None:
        if failure.thread is None or "run_spark" not in failure.thread.name:
            before(failure)

    threading.excepthook = hook
    yield
    threading.excepthook = before  # not after a failure: the thread may still be about to fail


def _environment(interface: str) -> dict[str, str]:
    """Settings of the rank processes, on top of their Spark task's environment."""
    return {
        "HOROVOD_STALL_CHECK_TIME_SECONDS": str(_STALL_WARNING_SECONDS),
        "HOROVOD_STALL_SHUTDOWN_TIME_SECONDS": str(STALL_SECONDS),
        "HOROVOD_GLOO_TIMEOUT_SECONDS": str(STALL_SECONDS),  # an elastic rank waits while others load torch
        "HOROVOD_GLOO_IFACE": interface,
        "HOROVOD_LOG_LEVEL": "error",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
    }


def _is_news(record: logging.LogRecord) -> bool:
    """False for notes of others: py4j's, with a traceback, that it sends a command again over a fresh connection, and
    those of Horovod's elastic driver on its own bookkeeping."""
    noted = record.module == "java_gateway" or "horovod" in Path(record.pathname).parts
    return not (noted and record.levelno <= logging.INFO)


class RankOutput:
    """A text stream for Horovod's launcher: forwards lines without its `[1]<stdout>:` prefix, keeps the last ones."""

    _PREFIX = re.compile(r"^\[\d+\]<(?:stdout|stderr)>:", re.MULTILINE)

    def __init__(self, forward: TextIO | None, keep: int = 200) -> None:
        # many lines: the cause comes first, and each surviving rank adds a traceback of its own after it
        self.forward = forward
        self.last: deque[str] = deque(maxlen=keep)

    def write(self, text: str) -> int:
        clean = self._PREFIX.sub("", text)
        self.last.extend(line for line in clean.splitlines() if line.strip())
        if self.forward is not None:
            # on a terminal Spark's progress bar stands on this line
            self.forward.write(f"\r\x1b[K{clean}" if self.forward.isatty() else clean)
            self.forward.flush()  # whoever follows a log file sees an epoch when it ends
        return len(text)

    def flush(self) -> None:
        if self.forward is not None:
            self.forward.flush()

    def close(self) -> None:
        self.flush()
