"""The environment in .venv: locked packages, wheels of Petastorm and Horovod built once, and the package itself.

    python3 environment/set_up.py <all|dev> <stamp>

Runs on a bare Python. An interrupted set-up goes on where it stopped; a second one started meanwhile waits for the
first. `.venv/complete-<profile>` holds the stamp once everything is there (`environment/ensure.sh` compares it).

PURCHASEPATH_TORCH names a wheel of torch (a file, or an address that ends in `#sha256=…`) to be installed instead of
the index's: a build for the CPU alone is a tenth as large. Where Horovod cannot be built, set-up says so and leaves
`.venv/without-horovod`: training then takes `training.backend: torch` by itself.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from horovod_wheel import build_horovod, find_horovod
from lock import package, read_lock, split_lock
from petastorm_wheel import build_petastorm, find_petastorm
from pins import ROOT, read_pins

VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOG = VENV / "set-up.log"
WITHOUT_HOROVOD = VENV / "without-horovod"
CUDA = ("nvidia-", "cuda-", "triton")
"""Packages that torch's default build needs, and a build for the CPU does not."""


class StepFailedError(Exception):
    """A command of a step failed; the message shows its last lines and where the rest is."""


def main(profile: str, stamp: str) -> int:
    """Exit code 0 with a complete environment, 2 with a message that says what to do."""
    VENV.mkdir(exist_ok=True)
    with open(VENV / "set-up.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("set-up: another process is setting up this checkout; waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        complete = VENV / f"complete-{profile}"
        if complete.is_file() and complete.read_text().strip() == stamp and is_of_this_python():
            return 0  # the process we waited for did it
        try:
            set_up(profile)
        except StepFailedError as failure:
            print(f"\nerror: set-up stopped: {failure}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("\nset-up was interrupted; the next call goes on where it stopped", file=sys.stderr)
            return 130
        for done in {"all", profile}:  # the tests' profile contains the pipeline's
            (VENV / f"complete-{done}").write_text(stamp + "\n")
        return 0


def set_up(profile: str) -> None:
    """Every step, in order. Steps that find their work done take a second or two."""
    started = time.monotonic()
    for old in VENV.glob("complete-*"):
        old.unlink()
    locked = split_lock(read_lock(profile))
    print(f"set-up: making {VENV} (once; details in {LOG})", file=sys.stderr, flush=True)
    step("virtual environment", "10 s", make_venv)
    builders = {re.split("[=<>]", requirement)[0] for requirement in read_pins()["BUILD"]}
    step("build tools", "10 s", lambda: install([entry for entry in locked if package(entry) in builders]))
    step("packages", "3 min", lambda: install_packages(locked))
    step("Petastorm", "10 s", install_petastorm)
    step("Horovod", "5 min, built once", install_horovod)
    step("purchasepath", "5 s", lambda: pip("install", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)))
    print(f"set-up: complete after {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def install_packages(locked: list[str]) -> None:
    """Every locked package; torch from `PURCHASEPATH_TORCH` where that is given, without CUDA's libraries."""
    given = os.environ.get("PURCHASEPATH_TORCH")
    if given:
        pip("install", "--no-deps", given)
        locked = [entry for entry in locked if not package(entry).startswith(("torch", *CUDA))]
    install(locked)


def install(locked: list[str]) -> None:
    """Exactly these entries of the lock; pip compares the sum of every file."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as requirements:
        requirements.write("\n".join(locked) + "\n")
        requirements.flush()
        pip("install", "--no-deps", "--require-hashes", "--requirement", requirements.name)


def step(name: str, expected: str, work: Callable[[], None]) -> None:
    """Run one step between two progress lines."""
    print(f"set-up: {name} (about {expected}) ...", end=" ", file=sys.stderr, flush=True)
    started = time.monotonic()
    work()
    print(f"done in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def make_venv() -> None:
    """A virtual environment of this Python; one of another Python, or a broken one, is replaced."""
    if PYTHON.exists() and is_of_this_python() and not subprocess.run(
            [PYTHON, "-m", "pip", "--version"], capture_output=True, check=False).returncode:
        return
    for leftover in VENV.iterdir():
        if not leftover.name.startswith("set-up."):  # the lock we hold and the log
            shutil.rmtree(leftover) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()
    run([sys.executable, "-m", "venv", str(VENV)])


def is_of_this_python() -> bool:
    """Whether the environment's packages are those of the Python that runs this."""
    return (VENV / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}").is_dir()


def install_petastorm() -> None:
    """Petastorm from the edited wheel, which is made first if this machine never did."""
    requirement = str(read_pins()["PETASTORM"])
    install_wheel("petastorm", find_petastorm(requirement) or build_petastorm(PYTHON, requirement, run))


def install_horovod() -> None:
    """Horovod from the wheel in the user's cache, which is built first if this machine never did."""
    requirement = str(read_pins()["HOROVOD"])
    WITHOUT_HOROVOD.unlink(missing_ok=True)
    try:
        wheel = find_horovod(PYTHON, requirement) or build_horovod(PYTHON, requirement, run)
        install_wheel("horovod", wheel)
        run([PYTHON, "-c", "import horovod.torch"])
    except StepFailedError as failure:
        WITHOUT_HOROVOD.write_text(f"{failure}\n", encoding="utf-8")
        print(f"\nset-up: {requirement} cannot be built here, so `train` joins its ranks with torch.distributed "
              f"(training.backend: torch); why: {LOG}\nset-up: Horovod ...", end=" ", file=sys.stderr, flush=True)


def install_wheel(name: str, wheel: Path) -> None:
    """A wheel that was built here. What it needs is in setup.py's lists, and so in the lock."""
    installed = VENV / f"{name}-wheel"  # which one is installed: one built with other options has another directory
    if installed.is_file() and installed.read_text() == str(wheel):
        return
    pip("install", "--no-deps", "--force-reinstall", str(wheel))
    installed.write_text(str(wheel))


def pip(*arguments: str) -> None:
    run([PYTHON, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments])


def run(command: list[Any], *, check: bool = True, **options: Any) -> int:
    """Exit code of a command whose output goes to the log. Raises StepFailedError with its last lines."""
    words = [str(word) for word in command]
    with open(LOG, "a", encoding="utf-8") as log:
        log.write(f"\n$ {' '.join(words)}\n")
        log.flush()
        start = log.tell()
        code = subprocess.run(words, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False,
                              **options).returncode
    if code and check:
        with open(LOG, encoding="utf-8", errors="replace") as log:
            log.seek(start)
            tail = "".join(log.readlines()[-15:])
        raise StepFailedError(f"`{' '.join(words[:4])} …` failed (exit code {code}):\n{tail}\n"
                              f"all of its output is in {LOG}; run the same command again when the cause is gone")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
