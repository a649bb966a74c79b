"""Raw rows that were read, accepted, dropped as duplicates and rejected, since history was last replaced."""

from __future__ import annotations

from collections.abc import Sequence

from purchasepath.analyses.analysis import Analysis
from purchasepath.report import figures
from purchasepath.report.panels import Content, Panel, Query, Row
from purchasepath.report.wording import count, percent
from purchasepath.tables.catalog import INGEST_BOOKS

QUERY = Query((INGEST_BOOKS,), """
WITH runs AS (
  SELECT *, struct(coalesce(run_number, 0), finished_at, run_id) AS place FROM ingest_books
)
SELECT array_join(array_sort(collect_set(source)), ', ') AS source,
       sum(files) AS files,
       sum(read) AS read,
       sum(accepted) - sum(replaced) AS accepted,
       sum(duplicates) + sum(replaced) AS duplicates,
       sum(rejected) AS rejected
FROM runs
WHERE place >= (SELECT max(place) FROM runs WHERE history = 'replace')
HAVING count(*) > 0
""")


def _draw(rows: Sequence[Row]) -> Content:
    row = rows[0]
    if not row["read"]:
        return Content("No rows were read.")
    balanced = row["read"] == row["accepted"] + row["duplicates"] + row["rejected"]
    tiles = tuple((part, count(row[part])) for part in ("read", "accepted", "duplicates", "rejected"))
    return Content(
        f"Of {count(row['read'])} raw rows in {count(row['files'])} files (source {row['source']}), "
        f"{percent(row['accepted'] / row['read'])} were accepted, {percent(row['duplicates'] / row['read'])} were "
        f"duplicates and {percent(row['rejected'] / row['read'])} were rejected; "
        + ("the books balance to the row." if balanced else "the books do NOT balance."),
        _figure(row), tiles=tiles)


def _figure(row: Row) -> figures.Figure:
    """Raw rows as one bar: accepted, duplicates, rejected."""
    parts = (("accepted", "purchase"), ("duplicates", "cart"), ("rejected", "remove"))
    traces = [figures.trace("bar", y=["rows"], x=[row[part]], name=part, orientation="h",
                            marker_color=f"var(--{shade})", hovertemplate=f"{part}: %{{x:,}}<extra></extra>")
              for part, shade in parts]
    return figures.figure(traces, 130, barmode="stack", xaxis={"tickformat": "~s"}, yaxis={"visible": False})


ANALYSIS = Analysis("books", (Panel("books", "The books of ingest", QUERY, _draw),))
