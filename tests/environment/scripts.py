"""The scripts of environment/: a folder that runs on a bare Python, not a package."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

ENVIRONMENT = Path(__file__).resolve().parents[2] / "environment"


def load(name: str, folder: str = ".") -> ModuleType:
    """A module of environment/, or of a folder in it, imported as those that run there import each other."""
    place = str(ENVIRONMENT / folder)
    if place not in sys.path:
        sys.path.append(place)
    return importlib.import_module(name)
