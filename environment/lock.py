"""environment/lock.txt: every package of the environment with its version and sums, for every Python of setup.py.

    python environment/lock.py [--check]

Resolved by uv from the ranges in setup.py. What a pipeline needs comes first; below the line `DEV` stands what the
tests and checks need besides. `--check` writes nothing and fails where the file does not meet setup.py.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pins import ROOT, read_pins

LOCK = Path(__file__).with_name("lock.txt")
DEV = "# --- what tests and checks need besides ---"
HEADER = """\
# Written by `make lock` from the ranges in setup.py: every package of the environment for Python 3.11 to 3.13, with the
# sums of all its files. Set-up installs nothing else, but for the two wheels that it builds (Petastorm, Horovod), whose
# sources are known by sums in environment/petastorm_wheel.py and environment/horovod_wheel.py.
"""


def read_lock(profile: str) -> str:
    """The lines of the lock that a profile needs, as a requirements file."""
    base, _, dev = LOCK.read_text(encoding="utf-8").partition(DEV)
    return base + dev if profile == "dev" else base


def split_lock(text: str) -> list[str]:
    """The entries of a requirements file: each a package with its marker and its sums."""
    entries: list[str] = []
    for line in text.splitlines():
        if line.startswith((" ", "\t")):
            entries[-1] += f"\n{line}"
        elif line and not line.startswith("#"):
            entries.append(line)
    return entries


def package(entry: str) -> str:
    """`torch` of `torch==2.15.0 ; sys_platform == 'linux' \\ …`."""
    return re.split(r"[=<>;\[ ]", entry, maxsplit=1)[0]


def wanted(pins: dict[str, Any], *, dev: bool) -> list[str]:
    """The requirements of setup.py for a profile."""
    extras = [requirement for name, some in pins["EXTRAS"].items() if dev or name != "dev" for requirement in some]
    return sorted({*pins["BUILD"], *pins["BASE"], *extras})


def resolve(requirements: list[str], known: str = "") -> list[str]:
    """Entries of the lock for these requirements; versions in `known` stay where they still fit."""
    with tempfile.TemporaryDirectory() as scratch:
        asked, found = Path(scratch, "asked.in"), Path(scratch, "found.txt")
        asked.write_text("\n".join(requirements), encoding="utf-8")
        found.write_text(known, encoding="utf-8")
        oldest = re.findall(r"\d+\.\d+", read_pins()["PYTHON"])[0]
        subprocess.run(
            [Path(sys.executable).with_name("uv"), "pip", "compile", "--quiet", "--universal", "--generate-hashes",
             "--no-header", "--no-annotate", "--python-version", oldest, "--output-file", found, asked], check=True)
        return split_lock(found.read_text(encoding="utf-8"))


def make_lock() -> str:
    """The text of lock.txt, resolved anew."""
    pins = read_pins()
    everything = resolve(wanted(pins, dev=True))
    # the pipeline's part is resolved within the whole, so that both parts have the same versions
    needed = {package(entry) for entry in resolve(wanted(pins, dev=False), "\n".join(everything))}
    base = [entry for entry in everything if package(entry) in needed]
    dev = [entry for entry in everything if package(entry) not in needed]
    return "\n".join([HEADER, *base, "", DEV, *dev, ""])


def faults() -> list[str]:
    """Requirements of setup.py that the lock does not meet: it is older than they are."""
    from packaging.requirements import Requirement  # set-up imports this file on a bare Python

    locked: dict[str, list[str]] = {}
    for entry in split_lock(read_lock("dev")):
        locked.setdefault(package(entry), []).append(re.split(r"==|[ ;\\]", entry)[1])

    def is_met(requirement: Requirement) -> bool:
        versions = locked.get(requirement.name.lower().replace("_", "-"), [])
        return bool(versions) and all(requirement.specifier.contains(version) for version in versions)

    return [asked for asked in wanted(read_pins(), dev=True) if not is_met(Requirement(asked))]


def main(arguments: list[str]) -> int:
    if "--check" in arguments:
        missing = faults()
        if missing:
            print(f"environment/lock.txt does not meet {', '.join(missing)}; run: make lock", file=sys.stderr)
        return 2 if missing else 0
    LOCK.write_text(make_lock(), encoding="utf-8")
    print(f"{LOCK.relative_to(ROOT)}: {len(split_lock(read_lock('all')))} packages, "
          f"{len(split_lock(read_lock('dev')))} with those of the tests")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
