"""The environment in .venv: pinned packages, torch, a Horovod wheel built once, and the package itself.

    python3.11 environment/set_up.py <all|dev> <stamp>

Runs on a bare Python. An interrupted set-up goes on where it stopped; a second one started meanwhile waits for the
first. `.venv/complete-<profile>` holds the stamp once everything is there (`environment/ensure.sh` compares it).
"""

from __future__ import annotations

import ast
import fcntl
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from horovod_wheel import build_horovod, find_horovod

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOG = VENV / "set-up.log"


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
        if complete.is_file() and complete.read_text().strip() == stamp:
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
    base, extras = pins()["BASE"], pins()["EXTRAS"]
    wanted = sorted({pin for name in extras if name != "dev" for pin in extras[name]})
    torch = next(pin for pin in wanted if pin.startswith("torch=="))
    print(f"set-up: making {VENV} (once; details in {LOG})", file=sys.stderr, flush=True)
    step("virtual environment", "10 s", make_venv)
    step("build tools", "10 s", lambda: pip("install", "--upgrade", "pip", "setuptools>=77.0.3", "wheel", "cmake>=3.24",
                                           "packaging", "cffi"))
    # First and alone: pip takes the highest version it is offered, and a local CPU build (2.13.0+cpu), where the
    # registry or PIP_FIND_LINKS has one, counts as higher than 2.13.0. Together with all the other pins the resolver
    # may settle for the default build, which brings gigabytes of CUDA libraries.
    step(torch, "1 min", lambda: pip("install", torch))
    step("packages", "2 min", lambda: pip("install", *base, *wanted, *(extras["dev"] if profile == "dev" else [])))
    step("Horovod", "4 min, built once", install_horovod)
    step("purchasepath", "5 s", lambda: pip("install", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)))
    print(f"set-up: complete after {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def pins() -> dict[str, Any]:
    """The literals of setup.py: BASE, EXTRAS, HOROVOD. Nothing of it is run."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    return {node.targets[0].id: ast.literal_eval(node.value) for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)}


def step(name: str, expected: str, work: Callable[[], None]) -> None:
    """Run one step between two progress lines."""
    print(f"set-up: {name} (about {expected}) ...", end=" ", file=sys.stderr, flush=True)
    started = time.monotonic()
    work()
    print(f"done in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def make_venv() -> None:
    """A virtual environment of this Python; one of another Python, or a broken one, is replaced."""
    if PYTHON.exists() and not subprocess.run(
            [PYTHON, "-m", "pip", "--version"], capture_output=True, check=False).returncode:
        asked = "import sys; sys.exit(sys.version_info[:2] != (3, 11))"
        if not subprocess.run([PYTHON, "-c", asked], check=False).returncode:
            return
    for leftover in VENV.iterdir():
        if not leftover.name.startswith("set-up."):  # the lock we hold and the log
            shutil.rmtree(leftover) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()
    run([sys.executable, "-m", "venv", str(VENV)])


def install_horovod() -> None:
    """Horovod from the wheel in the user's cache, which is built first if this machine never did."""
    requirement = str(pins()["HOROVOD"])
    wheel = find_horovod(PYTHON, requirement) or build_horovod(PYTHON, requirement, run)
    installed = VENV / "horovod-wheel"  # which one is installed: a build with other options has another directory
    if installed.is_file() and installed.read_text() == str(wheel):
        return
    # --no-deps: what it needs is in the `train` extra, with our pins
    pip("install", "--no-deps", "--force-reinstall", str(wheel))
    run([PYTHON, "-c", "import horovod.torch"])
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
