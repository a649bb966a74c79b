"""A panel of the report: one question, its answer in one plain sentence, a figure or a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from purchasepath.analysis.figures import Figure, Row
from purchasepath.analysis.queries import Query


@dataclass(frozen=True)
class Grid:
    """A table of ready-made words; `path` columns hold states joined by ' > '."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    path_column: int | None = None
    highlight: int | None = None
    """Row that is ours, shown in bold."""


@dataclass(frozen=True)
class Content:
    """What a panel shows. `reading` says in one plain sentence what the numbers say."""

    reading: str
    figure: Figure | None = None
    grid: Grid | None = None
    tiles: tuple[tuple[str, str], ...] = ()
    """Headline numbers: label and value."""
    hint: str = ""
    """How to read the figure, where that is not obvious."""


@dataclass(frozen=True)
class Panel:
    """`draw` is only called with at least one row."""

    name: str
    title: str
    query: Query
    draw: Callable[[Sequence[Row]], Content]


@dataclass(frozen=True)
class Section:
    name: str
    title: str
    panels: tuple[Panel, ...] = field(default_factory=tuple)
