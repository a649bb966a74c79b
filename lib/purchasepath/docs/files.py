"""docs/files.md: one line per file of the code, from its docstring's first line."""

from __future__ import annotations

import ast
from pathlib import Path

from purchasepath.docs.writing import GENERATED, ROOT, cell


def files_page() -> str:
    """Jobs and library, folder by folder."""
    modules = [*(ROOT / "jobs").glob("*.py"), *(ROOT / "lib" / "purchasepath").rglob("*.py")]
    lines: list[str] = []
    folder = None
    for file in sorted(modules, key=lambda f: (f.parent, f.name)):
        told = _first_line(file)
        if not told:
            continue
        if file.parent != folder:
            folder = file.parent
            lines += ["", f"## {folder.relative_to(ROOT)}/", "", "| file | what it holds |", "|---|---|"]
        lines.append(f"| `{file.name}` | {cell(told)} |")
    return "\n".join(["# Files", "", GENERATED, "", "Folders in the order of the alphabet; "
                      "[architecture.md](architecture.md) says how they hang together.", *lines, ""])


def _first_line(file: Path) -> str:
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    return docstring.splitlines()[0] if docstring else ""
