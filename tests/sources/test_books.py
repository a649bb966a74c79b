"""The books, and the message when too much was rejected."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pyspark.sql import SparkSession

from purchasepath.errors import TooManyCollisionsError, TooManyRejectedError
from purchasepath.sources.books import (
    Books,
    Rejection,
    books_row,
    check_collision_share,
    check_rejected_share,
    count_events_of,
    in_order,
    other_sources,
    top_rejections,
)
from purchasepath.sources.cleaning import FILE, RAW, REASONS, REJECTED, VERDICT
from purchasepath.tables.catalog import INGEST_BOOKS

REJECTIONS = [Rejection(f"reason {n}", 10 - n, f"line {n}" * 100, f"file:///d/{n}.csv") for n in range(5)]


def test_books_that_do_not_balance_are_a_defect() -> None:
    assert Books(10, 7, 2, 1).check().rejected_share == 0.1
    with pytest.raises(RuntimeError, match="read 10 = accepted 7 "):
        Books(10, 7, 2, 0).check()


def test_share_at_the_limit_is_allowed() -> None:
    check_rejected_share(Books(100, 98, 0, 2), REJECTIONS, 0.02)
    check_rejected_share(Books(0, 0, 0, 0), [], 0.0)


def test_share_above_the_limit_shows_reasons_and_three_examples() -> None:
    with pytest.raises(TooManyRejectedError) as caught:
        check_rejected_share(Books(100, 97, 0, 3), REJECTIONS, 0.02)
    message = str(caught.value)
    assert "3 of 100 raw rows were rejected (3.0%); at most 2.0%" in message
    assert all(f"{10 - n} x reason {n}" in message for n in range(5))
    assert message.count("line 0") > 1
    assert "(/d/2.csv)" in message
    assert "(/d/3.csv)" not in message
    assert all(len(line) < 210 for line in message.splitlines())


def test_share_of_collisions_above_the_limit_shows_examples_and_what_to_do() -> None:
    books = Books(100, 90, 10, 0, collisions=3)
    check_collision_share(books, ["event id '1'"], 0.03)
    with pytest.raises(TooManyCollisionsError, match=r"(?s)3 of 100 .*3.0%.*2.0%.*event id '1'.*concat"):
        check_collision_share(books, ["event id '1'"], 0.02)


def test_rejections_are_counted_by_reason_with_an_example(spark: SparkSession) -> None:
    rows = [
        ("b", "f", ["x", "y"], REJECTED),
        ("a", "f", ["y"], REJECTED),
        (None, None, [], "accepted"),
        ("c", "g", ["a"], REJECTED),
    ]
    frame = spark.createDataFrame(rows, f"{RAW} string, {FILE} string, {REASONS} array<string>, {VERDICT} string")
    assert top_rejections(frame, most=2) == [Rejection("y", 2, "a", "f"), Rejection("a", 1, "c", "g")]


def run(run_id: str, number: int | None, hour: int, history: str = "add", source: str = "s") -> dict[str, Any]:
    return {"run_id": run_id, "run_number": number, "finished_at": datetime(2024, 1, 1, hour), "history": history,
            "accepted": 10 + hour, "replaced": 0, "source": source}


def test_runs_are_in_order_of_their_commits_whatever_clocks_said() -> None:
    behind, after = run("a", 9, 1, "replace"), run("0", 11, 0)
    old = [run("y", None, 3, "replace"), run("z", None, 2)]  # of a release without numbers: by its clock
    runs = [after, *old, behind]
    assert [row["run_id"] for row in in_order(runs)] == ["z", "y", "a", "0"]
    assert count_events_of(runs) == 11 + 10
    assert count_events_of(old) == 13


def test_sources_are_those_since_the_history_was_last_replaced(spark: SparkSession) -> None:
    runs = [run("c", 1, 5, source="gone"), run("b", 2, 4, "replace", source="one"), run("a", 3, 3, source="two")]
    books = INGEST_BOOKS.frame(spark, runs)
    assert (other_sources(books, "one"), other_sources(books, "new")) == (["two"], ["one", "two"])


def test_row_of_the_books(spark: SparkSession) -> None:
    books = Books(4, 1, 2, 1)
    [found] = books_row(spark, books, run_id="r", run_number=7, source="s", files=3, history="add").collect()
    row = found.asDict()
    assert abs((datetime.now(UTC) - row.pop("finished_at").astimezone(UTC)).total_seconds()) < 3600
    assert row == {
        "run_id": "r", "run_number": 7, "source": "s", "files": 3, "read": 4, "accepted": 1, "duplicates": 2,
        "rejected": 1, "history": "add", "replaced": 0,
    }
