"""The page: the report as one HTML file that needs nothing else, from the warehouse's tables alone.

Every number comes from a panel's query, run by Spark on one consistent state of the tables, and is shown with that
query. A panel whose table is not there yet says which command writes it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pyspark.sql import DataFrame, SparkSession

from purchasepath.errors import UserError
from purchasepath.report.figures import plotly_script
from purchasepath.report.panels import Content, Panel, Query, Report, Row
from purchasepath.tables.types import Table

SIMULATED = "simulated"


@dataclass(frozen=True)
class Missing:
    """A table that a query reads and that is not in the warehouse."""

    table: str
    stage: str


Answers = Mapping[Query, Sequence[Row] | Missing]


@dataclass(frozen=True)
class Shown:
    """A panel with its content, or with what is missing for it."""

    panel: Panel
    content: Content | None
    missing: Missing | None = None


def ask(spark: SparkSession, queries: Sequence[Query], read: Callable[[Table], DataFrame | None]) -> Answers:
    """The rows of every query; `read` gives a table, or None where it does not exist."""
    frames = {table: read(table) for table in dict.fromkeys(t for query in queries for t in query.tables)}
    answers: dict[Query, Sequence[Row] | Missing] = {}
    with _views(spark, {table.name: frame for table, frame in frames.items() if frame is not None}):
        for query in queries:
            absent = next((table for table in query.tables if frames[table] is None), None)
            if absent:
                answers[query] = Missing(absent.name, absent.written_by)
            else:
                answers[query] = [_plain(row.asDict()) for row in spark.sql(query.sql).collect()]
    return answers


@contextmanager
def _views(spark: SparkSession, frames: Mapping[str, DataFrame]) -> Iterator[None]:
    """Frames by their table names for as long as the block runs."""
    for name, frame in frames.items():
        frame.createOrReplaceTempView(name)
    try:
        yield
    finally:
        for name in frames:
            spark.catalog.dropTempView(name)


def _plain(row: dict[str, Any]) -> Row:
    """Values that JSON knows: dates as ISO text, no NaN."""

    def plain(value: Any) -> Any:
        if isinstance(value, date | datetime):
            return value.isoformat()
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return value

    return {name: plain(value) for name, value in row.items()}


def show(panel: Panel, answers: Answers) -> Shown:
    """The panel drawn from its answer."""
    answer = answers[panel.query]
    if isinstance(answer, Missing):
        return Shown(panel, None, answer)
    if not answer:
        tables = " and ".join(table.name for table in panel.query.tables)
        return Shown(panel, Content(f"There is nothing to show: {tables} has no rows for this question."))
    return Shown(panel, panel.draw(answer))


def render(report: Report, answers: Answers, *, now: datetime) -> str:
    """The whole report as one HTML document."""
    told = answers[report.source]
    source = told[0]["source"] if not isinstance(told, Missing) and told else None
    sections = [(section, [show(panel, answers) for panel in section.panels]) for section in report.sections]
    return _environment().get_template("report.html.j2").render(
        headline=show(report.headline, answers), sections=sections, source=source,
        synthetic=SIMULATED in (source or "").split(", "), written_at=f"{now.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        plotly=Markup(plotly_script()),
    )


@cache
def _environment() -> Environment:
    return Environment(loader=PackageLoader("purchasepath.report"), autoescape=True, undefined=StrictUndefined,
                       trim_blocks=True, lstrip_blocks=True)


def write_report(html: str, target: Path) -> None:
    """`html` at `target`, whole or not at all."""
    staged = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.write_text(html, encoding="utf-8")
        os.replace(staged, target)
    except OSError as failure:
        with suppress(OSError):
            staged.unlink()
        raise UserError(f"the report cannot be written to {target} ({failure.strerror}); "
                        f"give --set paths.report=<a file you may write>") from None
