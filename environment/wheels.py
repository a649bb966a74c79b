"""Wheels that were built here: kept in the user's cache, each with its sum beside it."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import NamedTuple


class Edit(NamedTuple):
    """One change of a release: in `file`, every `old` becomes `new`."""

    file: str
    old: str
    new: str
    reason: str


def edited(text: str, edit: Edit, release: str) -> str:
    """The text of `edit.file` after the edit. Raises RuntimeError where there is nothing to replace."""
    if edit.old not in text:
        raise RuntimeError(f"{edit.file} of {release} does not contain {edit.old!r}; this edit ({edit.reason}) is for "
                           "another release")
    return text.replace(edit.old, edit.new)


def cache_directory(requirement: str, combination: str) -> Path:
    """Where wheels of this release and combination are kept: `…/wheels/horovod-0.28.1/cp311-…`."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "purchasepath" / "wheels" / requirement.replace("==", "-") / combination


def keep(wheel: Path, directory: Path) -> Path:
    """Copy a built wheel into the cache, its sum first; its path there. An interrupted copy leaves no wheel."""
    directory.mkdir(parents=True, exist_ok=True)
    kept = directory / wheel.name
    _sum_file(kept).write_text(sum_of(wheel), encoding="utf-8")
    arriving = directory / f".{os.getpid()}-{wheel.name}"
    shutil.copyfile(wheel, arriving)
    os.replace(arriving, kept)
    return kept


def find_kept(directory: Path) -> Path | None:
    """The wheel kept in a directory of the cache, if there is one that still has its sum."""
    wheels = (w for w in sorted(directory.glob("*.whl")) if not w.name.startswith("."))
    return next((w for w in wheels if _sum_file(w).is_file() and _sum_file(w).read_text() == sum_of(w)), None)


def sum_of(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _sum_file(wheel: Path) -> Path:
    return wheel.with_name(f"{wheel.name}.sha256")
