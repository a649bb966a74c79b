"""Which run counts as the newest: by commits, for clocks may be set back."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from pyspark.sql import SparkSession

from purchasepath.analyses import books, recommendations, scores
from purchasepath.report import page
from purchasepath.report.panels import Query
from purchasepath.tables.catalog import INGEST_BOOKS, RECOMMENDATIONS, SCORES
from purchasepath.tables.types import Table


def ask(spark: SparkSession, query: Query, table: Table, rows: list[dict[str, Any]]) -> list[Any]:
    found = page.ask(spark, [query], {table: table.frame(spark, rows)}.get)[query]
    assert not isinstance(found, page.Missing)
    return list(found)


def published(model: str, run_id: str, run_number: int | None, visitors: int) -> list[dict[str, Any]]:
    return [{"user_id": f"u{n}", "rank": 1, "item_id": f"of {model}", "model_name": model, "run_id": run_id,
             "run_number": run_number, "as_of_date": date(2024, 1, 1)} for n in range(visitors)]


def test_scores_shown_are_those_of_the_last_commit(spark: SparkSession) -> None:
    unnumbered = published("of an earlier release", "20270101", None, 1)
    rows = [*unnumbered, *published("behind", "20240101", 8, 3), *published("ahead", "20260101", 7, 2)]
    [shown] = ask(spark, recommendations.QUERY, RECOMMENDATIONS, rows)
    assert (shown["item_id"], shown["visitors"]) == ("of behind", 3)
    scored = [{name: value for name, value in row.items() if name not in ("rank", "item_id", "user_id")}
              | {"entity_id": row["user_id"], "task": "purchase"} for row in rows]
    assert sum(row["visitors"] for row in ask(spark, scores.QUERY, SCORES, scored)) == 3


def run(number: int | None, hour: int, history: str, read: int) -> dict[str, Any]:
    return {"run_id": f"{hour:02d}", "run_number": number, "history": history, "read": read, "accepted": read,
            "source": history, "finished_at": datetime(2024, 1, 1, hour, tzinfo=UTC)}


def test_the_books_begin_at_the_last_replace_whatever_its_clock_said(spark: SparkSession) -> None:
    old = [run(None, 20, "replace", 1000), run(None, 21, "add", 100)]
    [row] = ask(spark, books.QUERY, INGEST_BOOKS, [*old, run(5, 3, "add", 10)])
    assert row["read"] == 1110
    [row] = ask(spark, books.QUERY, INGEST_BOOKS, [*old, run(5, 3, "replace", 10), run(6, 2, "add", 1)])
    assert row["read"] == 11
