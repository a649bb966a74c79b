"""What setup.py asks for, read and not run: set-up, the lock and the tests know a version from there alone."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def read_pins() -> dict[str, Any]:
    """The literals of setup.py by name: PYTHON, BUILD, BASE, EXTRAS, PETASTORM, HOROVOD …"""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    return {node.targets[0].id: ast.literal_eval(node.value) for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)}


def python_range() -> tuple[tuple[int, int], tuple[int, int]]:
    """The oldest Python that is supported, and the first one that is not: (3, 11), (3, 14)."""
    oldest, first_beyond = (tuple(map(int, found)) for found in re.findall(r"(\d+)\.(\d+)", read_pins()["PYTHON"]))
    return oldest, first_beyond  # type: ignore[return-value]
