"""The process of a job: its clock, and how it ends when it is told to, or when its JVM does."""

from __future__ import annotations

import logging
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import IO

_told: BaseException | None = None
"""What a signal has raised, and said. Where it met Py4J in the middle of a call, an error of another kind arrives."""
_GRACE_SECONDS = 25
"""From a signal to the end of the process at the latest: time to close an MLflow run whose server is slow."""


class Terminated(BaseException):
    """SIGTERM, or the end of the JVM whose driver this is; no Exception, so nothing catches it."""


def run_in_utc() -> None:
    """Makes UTC the zone of this process and of those it starts, whatever the machine's is."""
    os.environ["TZ"] = "UTC"
    time.tzset()


@contextmanager
def stoppable() -> Iterator[None]:
    """Within the block SIGINT raises KeyboardInterrupt and SIGTERM raises Terminated, once: what cleans up after the
    first is not cut off by a second. A driver that spark-submit started ends with its JVM, and at the latest
    _GRACE_SECONDS after a signal.
    """
    global _told
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _told = None
    before = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    if _is_driver_of_spark_submit():
        threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()
        _open_parents_stderr()
    try:
        yield
    finally:
        if not _is_driver_of_spark_submit():  # such a one is at its end, and leaves in peace
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def keeping_signals() -> Iterator[None]:
    """Handlers of SIGINT and SIGTERM are after the block what they were before it. Whatever the block installs is not
    asked: in a driver of spark-submit a signal waits for the end of the block (one that starts a JVM would have it
    wait, too).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, kept if _is_driver_of_spark_submit() else ())
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def lost_its_jvm(failure: BaseException, seconds: float = 15.0) -> bool:
    """Whether `failure` is that of a driver whose JVM is going or gone; waits a moment to see it go."""
    told = f"{type(failure).__name__} {failure}"
    if not (_is_driver_of_spark_submit() and any(sign in told for sign in _SIGNS_OF_A_LOST_JVM)):
        return False
    parent, until = os.getppid(), time.monotonic() + seconds
    while os.getppid() == parent != 1 and time.monotonic() < until:
        time.sleep(0.1)
    return os.getppid() != parent or parent == 1


_SIGNS_OF_A_LOST_JVM = (
    "Py4JNetworkError", "ConnectionRefusedError", "ConnectionResetError", "BrokenPipeError", "EOFError",
    "SparkContext was shut down", "stopped SparkContext", "Answer from Java side is empty", "shutdown in progress",
    'the return value of "org.apache.spark.SparkContext.',  # … is null: parts of a context that is being stopped
)


def stop_code(stop: BaseException) -> int:
    """The exit code: 130 where Ctrl-C was pressed, 143 for all else. Prints the one line, if nobody has yet."""
    if _told is None:
        _tell(stop)
    return 130 if isinstance(_told or stop, KeyboardInterrupt) else 143


def _tell(stop: BaseException) -> None:
    how = "interrupted" if isinstance(stop, KeyboardInterrupt) else "terminated"
    with suppress(OSError):  # nobody may be left to read it
        print(f"\n{how}; nothing unfinished was published", file=_parents_stderr or sys.stderr, flush=True)


_parents_stderr: IO[str] | None = None
"""What a driver of spark-submit prints passes the JVM, which Ctrl-C stops, too: the last line goes where the JVM's own
errors go."""


def _open_parents_stderr() -> None:
    global _parents_stderr
    if not stat.S_ISFIFO(os.fstat(2).st_mode):
        return  # nothing that somebody else has to pass on
    with suppress(OSError):  # only Linux shows it, and only of a user's own processes
        _parents_stderr = os.fdopen(os.open(f"/proc/{os.getppid()}/fd/2", os.O_WRONLY | os.O_APPEND), "w")


def _stop(number: int, frame: FrameType | None) -> None:
    global _told
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    stop = _told = KeyboardInterrupt() if number == signal.SIGINT else Terminated()
    _tell(stop)  # at once: clearing up may take a while
    logging.disable()  # what Py4J and others say of a JVM that Ctrl-C stops, too
    if _is_driver_of_spark_submit():
        _end_within(_GRACE_SECONDS, 128 + number)
    raise stop


def _follow(parent: int) -> None:
    """Ends this process soon after its parent, also where it computes without asking it for anything."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))  # the main thread's, also while it waits
    while os.getppid() == parent:
        time.sleep(0.5)
    _end_within(_GRACE_SECONDS, 128 + signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)


def _end_within(seconds: float, code: int) -> None:
    timer = threading.Timer(seconds, os._exit, (code,))
    timer.daemon = True
    timer.start()


def _is_driver_of_spark_submit() -> bool:
    return "PYSPARK_GATEWAY_PORT" in os.environ
