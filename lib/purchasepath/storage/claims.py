"""A directory that one run at a time writes to, told at the start and not after the work."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from purchasepath.errors import UserError

LOCK = ".lock"


class ClaimedError(UserError):
    """Another run writes to the directory."""


@contextmanager
def claim(directory: Path, run_id: str, knob: str) -> Iterator[None]:
    """Nobody else claims `directory`, which `knob` names, meanwhile. Raises ClaimedError where another run has.

    The claim is a kernel's lock (flock): it ends with the process that holds it, however that ends.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / LOCK).open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise ClaimedError(
                f"{directory} is being written by another run ({lock.read().strip() or 'it has just begun'}); "
                f"wait for it, or give this one a directory of its own: --set {knob}=<directory>") from None
        lock.truncate(0)
        lock.write(f"{run_id}, process {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()
        yield
        lock.truncate(0)
