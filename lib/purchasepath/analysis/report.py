"""The report: one HTML file that needs nothing else, from the warehouse's tables alone.

Every number comes from a query of `queries.py`, run by Spark on one consistent state of the tables, and is
shown with that query. A panel whose table is not there yet says which command writes it.
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
from plotly.offline import get_plotlyjs
from pyspark.sql import DataFrame, SparkSession

from purchasepath.analysis import panels_model, panels_shop, queries
from purchasepath.analysis.figures import Row
from purchasepath.analysis.panels import Content, Panel, Section
from purchasepath.analysis.queries import Query
from purchasepath.errors import UserError
from purchasepath.tables.types import Table

SECTIONS = (
    Section("visits", "Visits", panels_shop.VISITS),
    Section("funnel", "Funnel", panels_shop.FUNNEL),
    Section("paths", "Paths to a purchase", panels_shop.PATHS),
    Section("model", "Model against baselines", panels_model.MODEL),
    Section("scores", "Scores and recommendations", panels_model.SCORES),
    Section("quality", "Data quality", panels_model.QUALITY),
)
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


def all_panels() -> tuple[Panel, ...]:
    return (panels_shop.HEADLINE, *(panel for section in SECTIONS for panel in section.panels))


def ask(spark: SparkSession, read: Callable[[Table], DataFrame | None]) -> Answers:
    """The rows of every query of the report; `read` gives a table, or None where it does not exist."""
    questions = list(dict.fromkeys([*(panel.query for panel in all_panels()), queries.BOOKS]))
    frames = {table: read(table) for table in dict.fromkeys(t for q in questions for t in q.tables)}
    answers: dict[Query, Sequence[Row] | Missing] = {}
    with _views(spark, {table.name: frame for table, frame in frames.items() if frame is not None}):
        for query in questions:
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


def render(answers: Answers, *, now: datetime) -> str:
    """The whole report as one HTML document."""
    books = answers[queries.BOOKS]
    source = books[0]["source"] if not isinstance(books, Missing) and books else None
    sections = [(section, [show(panel, answers) for panel in section.panels]) for section in SECTIONS]
    return _environment().get_template("report.html.j2").render(
        headline=show(panels_shop.HEADLINE, answers), sections=sections, source=source,
        synthetic=SIMULATED in (source or "").split(", "), written_at=f"{now.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        plotly=Markup(get_plotlyjs()),
    )


@cache
def _environment() -> Environment:
    return Environment(loader=PackageLoader("purchasepath.analysis"), autoescape=True, undefined=StrictUndefined,
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
