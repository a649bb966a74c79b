"""Where wheels that set-up builds are kept: the user's cache, shared by all checkouts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def built_wheels(requirement: str) -> Path:
    """Directory of every build of one release: `~/.cache/purchasepath/wheels/horovod-0.28.1`."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "purchasepath" / "wheels" / requirement.replace("==", "-")


def keep(wheel: Path, directory: Path) -> Path:
    """The wheel's place in the cache. It arrives whole: a build cut short leaves nothing there that looks finished."""
    directory.mkdir(parents=True, exist_ok=True)
    arriving = directory / f".{os.getpid()}-{wheel.name}"
    shutil.copyfile(wheel, arriving)
    os.replace(arriving, directory / wheel.name)
    return directory / wheel.name
