"""What the generated pages have in common: where they lie, how they are marked, a value and a cell of a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
DIRECTORY = ROOT / "docs"
GENERATED = "<!-- Written by `make docs`; change the declarations, not this page. -->"


def plain(default: Any) -> str:
    """A default as YAML has it."""
    if isinstance(default, tuple):
        return f"`[{', '.join(map(str, default))}]`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def code_list(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def with_block(page: str, name: str, content: str) -> str:
    """The page with `content` between its lines `<!-- name: written by `make docs` -->` and `<!-- end of name -->`."""
    begin, end = f"<!-- {name}: written by `make docs` -->", f"<!-- end of {name} -->"
    before, rest = page.split(begin)
    return f"{before}{begin}\n{content}\n{end}{rest.split(end)[1]}"
