"""The README's table of stages, and the text that the launcher reads before there is an environment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from purchasepath.docs.writing import ROOT
from purchasepath.stages import PATH, Stage
from purchasepath.tables.types import Table

LAUNCHER_TEXT = ROOT / "environment" / "stages.txt"


def stages_table(tables: Sequence[Table]) -> str:
    """A row per stage of the path: what it reads and writes."""
    names = {table.name for table in tables}

    def told(things: Iterable[str]) -> str:
        return ", ".join(f"`{thing}`" if thing in names else thing for thing in things) or "nothing"

    def row(stage: Stage) -> str:
        written = [table.name for table in tables if table.written_by == stage.name]
        return f"| `{stage.name}` | {told(stage.reads)} | {told([*written, *stage.writes])} |"

    return "\n".join(["| stage | reads | writes |", "|---|---|---|", *map(row, PATH)])
