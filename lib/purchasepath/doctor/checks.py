"""One row per component: what was found, what was expected, whether it works, what to do if not.

Everything that could crash or hang (imports of compiled packages included) runs in a process of its own with a time
limit, so that a failure is a row of the table and never the end of it. This module imports nothing that is not
in the standard library.
"""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

PROBES = tuple(Path(__file__).parent / "probes" / f"{name}.py" for name in (
    "spark_job", "two_ranks", "mlflow_run", "petastorm_read", "gpu", "plotly_figure"))  # the longest first
REPAIR = "run: make setup"


@dataclass(frozen=True)
class Finding:
    """A row of the doctor's table. `ok` None: nothing to judge, told for information."""

    component: str
    found: str
    expected: str
    ok: bool | None
    remedy: str = ""


def examine(root: Path, *, probe_timeout: float = 180) -> list[Finding]:
    """All findings of a checkout: tools, packages, then what really runs (two probes at a time)."""
    scratch = tempfile.TemporaryDirectory(prefix="purchasepath-doctor-")
    with scratch, ThreadPoolExecutor(max_workers=2) as pool:  # as many as the smallest machine has cores
        running = [pool.submit(run_probe, probe, Path(scratch.name) / probe.stem, probe_timeout) for probe in PROBES]
        first = [*tools(root), *packages(root), *places(root)]
        return first + [finding.result() for finding in running]


# Tools of the machine.

def tools(root: Path) -> Iterable[Finding]:
    """Python, JDK, C++ compiler and make."""
    version, wanted = ".".join(map(str, sys.version_info[:3])), setup_literals(root)["PYTHON"]
    yield Finding("Python", version, wanted, satisfies(".".join(version.split(".")[:2]), wanted),
                  "install Python 3.11, 3.12 or 3.13 (Debian: apt-get install python3 python3-venv python3-dev)")
    home = os.environ.get("JAVA_HOME")
    java = first_line([f"{home}/bin/java" if home else "java", "-version"], r'version "([^"]+)"')
    yield Finding("JDK", java or "none", "17 (or 21)", bool(java and re.match(r"(17|21)\b", java)),
                  "install JDK 17 (Debian: apt-get install openjdk-17-jdk-headless) or point JAVA_HOME to one")
    compiler = first_line([os.environ.get("CXX", "c++"), "--version"], r"(.+)")
    yield Finding("C++ compiler", compiler or "none", "with C++20", bool(compiler),
                  "install one (Debian: apt-get install g++); Horovod is built with it once")
    make = first_line(["make", "--version"], r"Make ([\d.]+)")
    yield Finding("make", make or "none", "any", bool(make), "install it (Debian: apt-get install make)")


def first_line(command: list[str], pattern: str) -> str | None:
    """First match of the pattern in what the command prints; None where there is no such command."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(pattern, done.stdout + done.stderr)
    return match.group(1).strip() if match and not done.returncode else None


# Packages, beside the ranges of setup.py.

def packages(root: Path) -> Iterable[Finding]:
    """Installed version of every package of a pipeline that setup.py names, and of the two that set-up builds."""
    without_horovod = (root / ".venv" / "without-horovod").is_file()
    for requirement in pinned(root):
        name = re.split(r"[=<>]", requirement)[0]
        expected = requirement.removeprefix(name)
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            if name == "horovod" and without_horovod:
                yield Finding(name, "could not be built here", f"{expected[2:]}, or ranks joined by torch", None)
                continue
            yield Finding(name, "none", expected.removeprefix("=="), False, REPAIR)
            continue
        yield Finding(name, found, expected.removeprefix("=="), satisfies(found, expected), REPAIR)


def pinned(root: Path) -> list[str]:
    """The requirements in setup.py that a pipeline needs, each once."""
    literals = setup_literals(root)
    extras = [pin for name, pins in literals["EXTRAS"].items() if name != "dev" for pin in pins]
    return list(dict.fromkeys([*literals["BASE"], *extras, literals["PETASTORM"], literals["HOROVOD"]]))


def setup_literals(root: Path) -> dict[str, Any]:
    """PYTHON, BASE, EXTRAS … of setup.py, which is read and not run."""
    tree = ast.parse((root / "setup.py").read_text(encoding="utf-8"))
    return {node.targets[0].id: ast.literal_eval(node.value) for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)}


def satisfies(found: str, expected: str) -> bool:
    """Whether a version meets `==1.2`, `>=1,<2` …; a local part (`+cpu`) counts as the same version."""
    def number(text: str) -> list[int]:
        digits = [int(part) for part in re.findall(r"\d+", text.split("+")[0])][:3]
        return digits + [0] * (3 - len(digits))

    compare: dict[str, Callable[[list[int], list[int]], bool]] = {
        "==": lambda a, b: a == b, ">=": lambda a, b: a >= b, "<": lambda a, b: a < b,
    }
    return all(compare[sign](number(found), number(bound)) for sign, bound in re.findall(r"(==|>=|<)([^,]+)", expected))


# Places that jobs write to.

def places(root: Path) -> Iterable[Finding]:
    """Whether outputs, cache and scratch directories can be written, and how much room there is."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "purchasepath"
    named = {"outputs": Path.cwd() / "var", "cache": cache, "scratch": Path(tempfile.gettempdir())}
    for name, directory in named.items():
        free = free_gigabytes(directory)
        if free is None:
            yield Finding(f"{name} directory", f"{directory} (not writable)", "writable, 2 GB free", False,
                          f"make {directory} writable, or set another place")
        else:
            yield Finding(f"{name} directory", f"{directory} ({free:.0f} GB free)", "writable, 2 GB free", free >= 2,
                          "free some disk space")


def free_gigabytes(directory: Path) -> float | None:
    """Free space of a directory that can be written (or made); None of one that cannot."""
    existing = next(p for p in (directory, *directory.parents) if p.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        return None
    status = os.statvfs(existing)
    return status.f_bavail * status.f_frsize / 1e9


# Probes: little programs that use a component for real.

def run_probe(probe: Path, scratch: Path, timeout: float) -> Finding:
    """Run a probe in a directory of its own. Its last line says `{"found": …}`; `ok` and `remedy` where they differ."""
    scratch.mkdir(parents=True)
    started = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYSPARK_PYTHON": sys.executable,
                   "PYSPARK_DRIVER_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    for inherited in ("SPARK_HOME", "MLFLOW_TRACKING_URI"):  # the probe tests our own Spark and a store of its own
        environment.pop(inherited, None)
    title, expected, remedy = describe(probe)
    # a session of its own: what the probe started (a JVM, two ranks) is stopped with it, and its pipes close
    running = subprocess.Popen([sys.executable, str(probe)], cwd=scratch, env=environment, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    try:
        output, errors = running.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
        return Finding(title, f"no answer within {timeout:.0f} s", expected, False, remedy)
    seconds = time.monotonic() - started
    lines = output.strip().splitlines()
    if running.returncode or not lines:
        reason = (errors.strip().splitlines() or [f"exit code {running.returncode}"])[-1]
        return Finding(title, f"failed: {reason[:160]}", expected, False, remedy)
    answer = json.loads(lines[-1])
    found = f"{answer['found']} ({seconds:.0f} s)"
    return Finding(title, found, expected, answer.get("ok", True), answer.get("remedy", remedy))


def describe(probe: Path) -> tuple[str, str, str]:
    """Title, expectation and remedy of a probe: the three lines of its docstring."""
    title, expected, remedy = (ast.get_docstring(ast.parse(probe.read_text(encoding="utf-8"))) or "").splitlines()
    return title, expected, remedy
