"""Environments of their own for peers whose pins clash with ours, made once in the user's cache.

    python = peer_python(PeerEnvironment("petastorm", "3.11", (("petastorm==0.12.1", "pyarrow==14.0.2"),)))
    figures = ask_peer(python, Path("stock_petastorm.py"), directory, json.dumps(settings))

A peer's script imports nothing of ours and ends by printing one JSON object.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from purchasepath.errors import UserError


@dataclass(frozen=True)
class PeerEnvironment:
    """What a peer runs in: `steps` are installed one after the other, each a call of pip."""

    name: str
    python: str
    steps: tuple[tuple[str, ...], ...]

    @property
    def directory(self) -> Path:
        """`~/.cache/purchasepath/peers/petastorm-1a2b3c4d`: other pins are another directory."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        pins = hashlib.sha256(repr((self.python, self.steps)).encode()).hexdigest()[:8]
        return cache / "purchasepath" / "peers" / f"{self.name}-{pins}"


class PeerUnavailableError(UserError):
    """An environment that cannot be made here."""


class PeerFailedError(Exception):
    """A peer's script that ended with an error, or without figures."""


def peer_python(environment: PeerEnvironment) -> Path:
    """Python of the environment, which is made first if this machine never did (minutes, and the network).

    One that was interrupted is made again; a second process waits for the first.
    """
    directory = environment.directory
    python, complete = directory / "bin" / "python", directory / "complete"
    directory.parent.mkdir(parents=True, exist_ok=True)
    with open(directory.parent / f".{directory.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if complete.is_file() and python.exists():  # it is a link, and the Python behind it may be gone
            return python
        base = find_python(environment)
        shutil.rmtree(directory, ignore_errors=True)
        print(f"making {directory} for {environment.name} (once, minutes) ...", file=sys.stderr, flush=True)
        _run([base, "-m", "venv", directory], environment)
        for packages in environment.steps:
            _run([python, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", *packages], environment)
        complete.touch()
    return python


def find_python(environment: PeerEnvironment) -> Path:
    """A Python of the version that the environment asks for: this one, one on PATH, or one of pyenv's."""
    asked = "import sys; print(f'{sys.version_info[0]}.{sys.version_info[1]}')"
    for candidate in _candidates(environment.python):
        try:
            answer = subprocess.run([candidate, "-c", asked], capture_output=True, text=True, check=False).stdout
        except OSError:
            continue
        if answer.strip() == environment.python:
            return candidate
    raise PeerUnavailableError(
        f"{environment.name} was expected to run on Python {environment.python}; found none as this Python, as "
        f"python{environment.python} on PATH or in pyenv's directory. Install one, or leave its cases out (--cases)"
    )


def _candidates(version: str) -> Iterator[Path]:
    yield Path(sys.executable)
    on_path = shutil.which(f"python{version}")
    if on_path:
        yield Path(on_path)
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(root.glob(f"versions/{version}.*/bin/python"))


def ask_peer(python: Path, script: Path, *arguments: str | Path) -> dict[str, Any]:
    """The JSON object that the script prints last, run with `python` in a process of its own, on the same cores."""
    # PYTHONPATH would put our packages, or those of our environment, before the peer's
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([python, script, *arguments], stdout=subprocess.PIPE, text=True, check=False, env=environment)
    last = (done.stdout.splitlines() or [""])[-1]
    try:
        figures = json.loads(last)
    except ValueError:
        figures = None
    if done.returncode or not isinstance(figures, dict):
        raise PeerFailedError(f"expected figures from {script.name} ({python}), found exit code {done.returncode} and "
                              f"the last line {last!r}; what it says of it is above")
    return figures


def _run(command: list[Any], environment: PeerEnvironment) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        raise PeerUnavailableError(f"the environment of {environment.name} cannot be made; "
                                   f"`{' '.join(map(str, command))}` ended with exit code {done.returncode}:\n{tail}")
