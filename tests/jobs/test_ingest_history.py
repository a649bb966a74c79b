"""Ingest runs that build on each other: whole jobs, from files to tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

import jobs.ingest
from purchasepath.config import load_config
from purchasepath.errors import InputError, PublishError
from purchasepath.job import Job, Summary
from purchasepath.sources import publication
from purchasepath.storage import open_warehouse
from purchasepath.storage.warehouse import Warehouse
from purchasepath.tables.catalog import EVENT_CHANGES, EVENTS, INGEST_BOOKS, REJECTED_EVENTS, USER_KEYS
from tests.sources.reading import values, write_files

MAPPING = """
inputs:
  - format: csv
    fields: {event_id: id, user_id: user, event_ts: at, arrived_at: got, event_type: what, item_id: item}
"""
HEADER = "id,user,at,got,what,item\n"
DAY_1, DAY_2, DAY_3 = (f"event_date=2024-01-0{day}" for day in (1, 2, 3))

Ingest = Callable[..., tuple[Summary, Warehouse]]


def line(event_id: str, day: int, item: str = "i", user: str = "u", arrived: str = "23:00:00") -> str:
    return f"{event_id},{user},2024-01-0{day} 20:00:00,2024-01-0{day} {arrived},view,{item}\n"


FIRST = HEADER + line("e1", 1) + line("e2", 2) + line("e3", 2) + "bad\n"
SECOND = (HEADER + line("e1", 1, "earlier", arrived="22:00:00") + line("e3", 2) + line("e4", 2, user="new")
          + line("e5", 3))


@pytest.fixture
def ingest(spark: SparkSession, tmp_path: Path) -> Ingest:
    """Runs the job on files with this text; its summary and the warehouse afterwards."""
    runs: list[int] = []
    (tmp_path / "shop.yaml").write_text(MAPPING)

    def on(*texts: str, history: str = "add", key: str = "key") -> tuple[Summary, Warehouse]:
        runs.append(1)
        raw = write_files(tmp_path / f"raw{len(runs)}", {f"{n}.csv": text for n, text in enumerate(texts)})
        config = load_config([], [
            f"paths.raw={raw}", f"paths.warehouse={tmp_path / 'warehouse'}", f"ingest.source={tmp_path / 'shop.yaml'}",
            f"ingest.pseudonym_key_file={tmp_path / key}", f"ingest.history={history}",
            "ingest.max_rejected_share=0.5", "ingest.max_collision_share=0.5"])
        summary = jobs.ingest.run(Job("ingest", config, spark=spark))
        return summary, open_warehouse(spark, config)

    return on


def state(warehouse: Warehouse) -> list[Any]:
    return [values(warehouse.read(table), "*") for table in (EVENTS, USER_KEYS)]


def test_deliveries_add_up_to_one_run_and_touch_only_what_changes(ingest: Ingest) -> None:
    _, first = ingest(FIRST)
    assert first.read(EVENT_CHANGES).isEmpty()
    before = first.fingerprints(EVENTS)
    summary, second = ingest(SECOND)
    assert summary.rows == {"events": 3, "rejected_events": 0, "user_keys": 1}
    assert summary.lines == [
        "shop, 1 files: read 4 = accepted 3 + duplicates 1 + rejected 0",
        "added to earlier runs: 2 events are new, 1 were known before, 1 displaced one that arrived later",
        "1 rows had another row's event id but other contents, and were dropped or displaced it: event id 'e1', as "
        "accepted by an earlier run",
    ]
    assert values(second.read(EVENT_CHANGES), "event_id", "change") == [
        ("e1", "added"), ("e1", "removed"), ("e4", "added"), ("e5", "added")]
    after = second.fingerprints(EVENTS)
    assert set(after) == {DAY_1, DAY_2, DAY_3}
    assert not set(after.values()) & set(before.values())
    assert values(second.read(EVENTS).where("event_id = 'e1'"), "item_id") == [("earlier",)]
    reached = state(second)

    again, third = ingest(FIRST)
    assert again.lines[1].startswith("added to earlier runs: 0 events are new, 3 were known before, 0 displaced")
    assert third.fingerprints(EVENTS) == after
    assert third.read(EVENT_CHANGES).count() == 4
    assert third.read(REJECTED_EVENTS).count() == 2  # every delivery's own
    assert state(third) == reached

    with pytest.raises(InputError, match=r"not the one that earlier runs used.*ingest\.history=replace"):
        ingest(FIRST, key="another key")

    _, whole = ingest(SECOND, FIRST, history="replace")
    assert state(whole) == reached
    assert whole.read(EVENT_CHANGES).isEmpty()
    assert whole.read(REJECTED_EVENTS).count() == 1
    books = values(whole.read(INGEST_BOOKS), "history", "read", "accepted", "duplicates", "replaced")
    assert books == [("add", 4, 0, 3, 0), ("add", 4, 3, 1, 1), ("replace", 4, 3, 0, 0), ("replace", 8, 5, 2, 0)]


@pytest.mark.slow
def test_deliveries_at_once_are_both_in_and_none_is_judged_twice(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(HEADER + line("e1", 1))
    close_books, settle = publication.books_row, jobs.ingest.settle
    judged: list[int] = []

    def while_another_finishes(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(publication, "books_row", close_books)
        ingest(HEADER + line("theirs", 1))
        return close_books(*arguments, **named)

    def counted(*arguments: Any) -> Any:
        judged.append(1)
        return settle(*arguments)

    monkeypatch.setattr(publication, "books_row", while_another_finishes)
    monkeypatch.setattr(jobs.ingest, "settle", counted)
    summary, after = ingest(HEADER + line("ours", 2) + line("theirs", 1))
    assert summary.lines[:2] == [
        "shop, 1 files: read 2 = accepted 1 + duplicates 1 + rejected 0",
        "added to earlier runs: 1 events are new, 1 were known before, 0 displaced one that arrived later"]
    assert values(after.read(EVENTS), "event_id") == [("e1",), ("ours",), ("theirs",)]
    assert after.read(INGEST_BOOKS).count() == 3
    assert len(judged) == 2


@pytest.mark.slow
def test_a_history_that_another_run_has_changed_is_not_replaced(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(HEADER + line("e1", 1))
    close_books = publication.books_row

    def while_another_finishes(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(publication, "books_row", close_books)
        ingest(HEADER + line("theirs", 1))
        return close_books(*arguments, **named)

    monkeypatch.setattr(publication, "books_row", while_another_finishes)
    with pytest.raises(PublishError, match="Run this job again"):
        ingest(HEADER + line("ours", 2), history="replace")
