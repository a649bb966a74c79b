"""Ctrl-C and TERM while a job loads, builds its session and works: one line, no traceback, nobody left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("works", [False, True], ids=["loads", "works"])
@pytest.mark.parametrize(("number", "code", "word"), [
    (signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")])
def test_a_job_that_is_stopped_says_one_line_and_leaves_nobody(
    tmp_path: Path, number: signal.Signals, code: int, word: str, works: bool
) -> None:
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        # as from a terminal, also where the tests themselves run in the background and ignore Ctrl-C
        command = ["env", "--default-signal=INT", ROOT / "spark-submit.sh", "simulate"]
        job = subprocess.Popen([*command, "--set", "simulate.users=200000"], cwd=tmp_path, stdout=out, stderr=err,
                               start_new_session=True)
    wait_until(lambda: "python" in family_of(job).values())  # before, a signal meets a JVM alone
    if works:
        wait_until(lambda: any((tmp_path / "var").glob("*journeys-*")))
    family = family_of(job)
    os.killpg(job.pid, number) if number == signal.SIGINT else os.kill(job.pid, number)  # as a terminal, as a scheduler
    assert job.wait(60) == code
    wait_until(lambda: not any(map(is_alive, family)))
    said = [line for line in ((tmp_path / "out").read_text() + (tmp_path / "err").read_text()).splitlines() if line]
    expected = f"{word}; nothing unfinished was published"
    assert said == [expected] if works else said in ([], [expected])
    assert not (tmp_path / "var/raw/events").exists()


def family_of(job: subprocess.Popen[bytes]) -> dict[psutil.Process, str]:
    """Its processes and their names."""
    found = {}
    with suppress(psutil.NoSuchProcess):  # some live for a moment
        for process in psutil.Process(job.pid).children(recursive=True):
            found[process] = process.name()
    return found


def is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"not within {seconds} s"
        time.sleep(0.05)
