"""A panel of the report: one query, its answer in one plain sentence, a figure or a table.

Every query aggregates in Spark and returns few rows; it is shown beside what it computed, and runs as it stands in
`./spark-submit.sh sql`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from purchasepath.report.figures import Figure
from purchasepath.tables.types import Table

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Query:
    """One question to the warehouse, and the tables that it reads."""

    tables: tuple[Table, ...]
    sql: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "sql", self.sql.strip())


@dataclass(frozen=True)
class Grid:
    """A table of ready-made words; `path` columns hold states joined by ' > '."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    path_column: int | None = None


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
    """Panels under one heading."""

    name: str
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Report:
    """What the page shows, from top to bottom; `source` answers where the data come from, in a column of that name."""

    headline: Panel
    sections: tuple[Section, ...]
    source: Query

    @property
    def panels(self) -> tuple[Panel, ...]:
        return (self.headline, *(panel for section in self.sections for panel in section.panels))

    @property
    def queries(self) -> tuple[Query, ...]:
        """Each once, in the panels' order."""
        return tuple(dict.fromkeys([*(panel.query for panel in self.panels), self.source]))
