"""ingest and sessionize on clocks that are set back, stand still, or differ between machines."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import ClassVar

import pytest
from pyspark.sql import SparkSession

from jobs import ingest, sessionize
from purchasepath import job as job_module
from purchasepath.config import load_config
from purchasepath.job import Job
from purchasepath.sessions import books as sessionize_books
from purchasepath.sources import books as ingest_books
from purchasepath.storage import open_warehouse
from purchasepath.storage.warehouse import Warehouse
from purchasepath.tables.catalog import EVENTS, INGEST_BOOKS, SESSIONIZE_BOOKS, SESSIONS, USER_KEYS
from purchasepath.tables.types import Table
from tests.sources.reading import values, write_files

MAPPING = """
inputs:
  - format: csv
    fields: {user_id: user, event_ts: at, event_type: what, item_id: item, agent: {constant: a browser}}
"""
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


class Clock(datetime):
    """A machine's clock, standing at `shown`."""

    shown: ClassVar[datetime] = NOON

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return cls.shown.astimezone(tz)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    for module in (job_module, ingest_books, sessionize_books):
        monkeypatch.setattr(module, "datetime", Clock)
    Clock.shown = NOON
    return Clock


class Shop:
    """Visitors arrive, one event each."""

    def __init__(self, spark: SparkSession, directory: Path) -> None:
        self.spark, self.directory, self.runs = spark, directory, 0
        self.here: list[str] = []
        """Who must be in EVENTS."""
        (directory / "shop.yaml").write_text(MAPPING)

    def job(self, name: str, *more: str) -> Job:
        return Job(name, load_config([], [
            f"paths.warehouse={self.directory / 'warehouse'}", f"paths.raw={self.directory / f'raw{self.runs}'}",
            f"ingest.source={self.directory / 'shop.yaml'}", f"ingest.pseudonym_key_file={self.directory / 'key'}",
            *more]), spark=self.spark)

    @property
    def warehouse(self) -> Warehouse:
        return open_warehouse(self.spark, self.job("check").config)

    def ingest(self, *, history: str = "add") -> None:
        self.runs += 1
        name = f"u{self.runs}"
        self.here = [*([] if history == "replace" else self.here), name]
        text = f"user,at,what,item\n{name},2024-01-0{self.runs % 9 + 1} 10:00:00,view,i\n"
        write_files(self.directory / f"raw{self.runs}", {"a.csv": text})
        ingest.run(self.job("ingest", f"ingest.history={history}"))

    def sessionize(self) -> str:
        """How, and every visitor is in SESSIONS afterwards."""
        mode = sessionize.run(self.job("sessionize")).lines[0].split(":")[0]
        found = self.warehouse.read(SESSIONS).join(self.warehouse.read(USER_KEYS), on="user_id", how="inner")
        assert values(found, "raw_id") == sorted((name,) for name in self.here)
        return mode


def test_a_clock_that_goes_back_hours_or_days_or_stands_hinders_nothing(
        spark: SparkSession, tmp_path: Path, clock: type[Clock]) -> None:
    shop = Shop(spark, tmp_path)
    modes = []
    for hours, history in [(0, "add"), (-1, "add"), (-1, "add"), (-72, "replace"), (-200, "add"), (2, "add")]:
        clock.shown = NOON + timedelta(hours=hours)
        shop.ingest(history=history)
        modes.append(shop.sessionize())
    assert modes == ["full (nothing was built before)", "incremental", "incremental",
                     "full (ingest has replaced the history)", "incremental", "incremental"]
    clock.shown = NOON - timedelta(days=400)
    assert shop.sessionize() == "incremental"
    numbers = [row.run_number for row in shop.warehouse.read(INGEST_BOOKS).collect()]
    assert len(set(numbers)) == 6


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_two_machines_with_different_clocks_take_turns(
        spark: SparkSession, tmp_path: Path, clock: type[Clock], seed: int) -> None:
    rng, shop = random.Random(seed), Shop(spark, tmp_path)
    shop.ingest()
    for turn in range(6):
        clock.shown = NOON + timedelta(minutes=turn) - rng.choice([timedelta(0), timedelta(days=3), timedelta(hours=1)])
        if rng.random() < 0.6:
            shop.ingest(history=rng.choice(["add", "add", "replace"]))
        else:
            shop.sessionize()
    shop.sessionize()


def test_runs_at_one_moment_have_ids_of_their_own(clock: type[Clock]) -> None:
    ids = {Job("ingest", load_config([], [])).run_id for _ in range(100)}
    assert len(ids) == 100
    assert all(name.startswith("20260601T120000000000-ingest-") for name in ids)


YOUNGER = {"run_number", "tie_order", "agent"}
"""Columns that 0.1.0 began with later than its first warehouses."""


def take_out_added_columns(warehouse: Warehouse, *tables: Table) -> None:
    """As releases left them that had not declared YOUNGER."""
    with warehouse.transaction("earlier") as tx:
        for table in tables:
            older = replace(table, columns=tuple(c for c in table.columns if c.name not in YOUNGER))
            assert older != table
            tx.write(older, warehouse.read(table).select(*older.names))


def test_a_warehouse_whose_books_hold_no_numbers_is_adopted_in_place(
        spark: SparkSession, tmp_path: Path, clock: type[Clock]) -> None:
    shop = Shop(spark, tmp_path)
    for history in ("add", "replace", "add"):
        clock.shown += timedelta(minutes=1)
        shop.ingest(history=history)
    shop.sessionize()
    take_out_added_columns(shop.warehouse, INGEST_BOOKS, SESSIONIZE_BOOKS, EVENTS)
    clock.shown = NOON - timedelta(days=1)
    shop.ingest()
    assert shop.sessionize() == "incremental"
    books = shop.warehouse.read(INGEST_BOOKS).orderBy("run_number").collect()
    assert [row.run_number is None for row in books] == [True, True, True, False]
    assert sorted(row.agent or "" for row in shop.warehouse.read(EVENTS).collect()) == ["", "", "a browser"]
