"""An analysis: what is computed from tables and shown. One file holds its tables, what computes them, queries, panels.

`catalog.py` lists them all; `analyze` runs those that compute something, the report shows the panels of all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pyspark.sql import DataFrame

from purchasepath.config import Analyze
from purchasepath.report.panels import Panel
from purchasepath.tables.types import Table


@dataclass(frozen=True)
class Inputs:
    """What an analysis is computed from.

    `read` gives a table of the warehouse, or one that an earlier analysis of the list has just made.
    `keep(frame, name)` is the same frame, computed once however often it is used.
    """

    read: Callable[[Table], DataFrame]
    keep: Callable[[DataFrame, str], DataFrame]
    config: Analyze


@dataclass(frozen=True)
class Findings:
    """The rows of each of the analysis' tables, and facts worth a line of the job's summary."""

    tables: Mapping[Table, DataFrame]
    lines: Sequence[str] = ()


@dataclass(frozen=True)
class Analysis:
    """`name` is the file's. Without `run` it only shows what is there. `check` raises ConfigError, before anything is
    read, where a knob does not fit."""

    name: str
    panels: tuple[Panel, ...]
    tables: tuple[Table, ...] = ()
    run: Callable[[Inputs], Findings] | None = None
    check: Callable[[Analyze], None] = field(default=lambda config: None)

    def __post_init__(self) -> None:
        wrong = [t.name for t in self.tables if t.written_by != "analyze" or t.secret]
        if wrong or bool(self.tables) != (self.run is not None):
            raise ValueError(f"{self.name}: expected tables written by analyze, without secret columns, and a `run` "
                             f"that makes them; found {wrong or [t.name for t in self.tables]}")
