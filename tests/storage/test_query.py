"""Read-only SQL: formats, refusals and messages."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from purchasepath.analyses.catalog import ALL_TABLES
from purchasepath.analyses.paths import PATHS
from purchasepath.config import load_config
from purchasepath.storage import open_warehouse
from purchasepath.storage.guard import QueryError
from purchasepath.storage.query import run_query
from purchasepath.storage.warehouse import Warehouse
from purchasepath.tables.catalog import CALIBRATION, REJECTED_EVENTS, USER_KEYS


@pytest.fixture(scope="module")
def warehouse(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    opened = open_warehouse(spark, load_config([], [f"paths.warehouse={tmp_path_factory.mktemp('wh')}"]))
    with opened.transaction("r1") as work:
        rows = [{"path": "view > cart", "sessions": 12, "revenue": 1.5}, {"path": "a,b"}]
        work.write(PATHS, PATHS.frame(spark, rows))
        work.write(CALIBRATION, CALIBRATION.frame(spark))
        work.write(USER_KEYS, USER_KEYS.frame(spark, [{"user_id": "p", "raw_id": "anna"}]))
        work.write(REJECTED_EVENTS, REJECTED_EVENTS.frame(spark, [{"raw": "anna,?", "reasons": ["no time"]}]))
    yield opened
    spark.sql("USE default")
    spark.sql(f"DROP DATABASE IF EXISTS {opened.database} CASCADE")


def answer(spark: SparkSession, warehouse: Warehouse, query: str, style: str = "table") -> str:
    out = io.StringIO()
    run_query(spark, warehouse, query, style, out, ALL_TABLES)
    return out.getvalue()


def test_table_format_aligns_and_counts(spark: SparkSession, warehouse: Warehouse) -> None:
    text = answer(spark, warehouse, "select path, sessions from paths where sessions > 0")
    assert text == "path         sessions\n-----------  --------\nview > cart        12\n(1 row)\n"


def test_csv_quotes_and_json_types(spark: SparkSession, warehouse: Warehouse) -> None:
    assert answer(spark, warehouse, "select path from paths order by path", "csv") == 'path\n"a,b"\nview > cart\n'
    row = json.loads(answer(spark, warehouse, "select revenue, date'2024-01-02' as day from paths limit 1", "json"))
    assert set(row) == {"revenue", "day"}
    assert row["day"] == str(date(2024, 1, 2))


AT = "timestamp'2024-01-02 03:04:05.5'"


@pytest.mark.parametrize(("value", "printed"), [
    (AT, "2024-01-02T03:04:05.5Z"),
    ("timestamp'10000-01-01 00:00:00'", "+10000-01-01T00:00:00Z"),  # a year that Python has not
    ("timestamp_ntz'2024-01-02 03:04:05'", "2024-01-02 03:04:05"),  # nobody says where
    (f"array({AT}, null)", ["2024-01-02T03:04:05.5Z", None]),
    (f"named_struct('at', {AT}, 'n', 1)", {"at": "2024-01-02T03:04:05.5Z", "n": 1}),
    (f"map({AT}, {AT})", {"2024-01-02T03:04:05.5Z": "2024-01-02T03:04:05.5Z"}),
    (f"if(1 = 2, named_struct('at', {AT}), null)", None),
])
def test_times_say_that_they_are_utc(spark: SparkSession, warehouse: Warehouse, value: str, printed: object) -> None:
    assert json.loads(answer(spark, warehouse, f"select {value} as x", "json")) == {"x": printed}


@pytest.mark.parametrize("style", ["table", "csv"])
def test_times_say_so_in_every_format(spark: SparkSession, warehouse: Warehouse, style: str) -> None:
    assert "2024-01-02T03:04:05.5Z" in answer(spark, warehouse, f"select {AT} as x, 1 as x", style)


@pytest.mark.parametrize("query", [
    "drop table paths", "insert into paths select * from paths",
    "with x as (select 1) insert into calibration select * from x",
    "create table x (a int)", "",
])
def test_everything_but_reading_is_refused(spark: SparkSession, warehouse: Warehouse, query: str) -> None:
    with pytest.raises(QueryError):
        answer(spark, warehouse, query)
    assert warehouse.read(PATHS).count() == 2


@pytest.mark.parametrize(("query", "told"), [
    ("select * from path", r"^there is no table `path` \(did you mean `paths`\?\)$"),
    ("select * from zebra", r"^there is no table `zebra` \(known: calibration, paths, rejected_events\)$"),
    ("select nothing from paths", r"(?s)`nothing`.*tables: calibration, paths, rejected_events$"),
])
def test_an_unknown_name_is_told_with_the_known_ones(
    spark: SparkSession, warehouse: Warehouse, query: str, told: str
) -> None:
    with pytest.raises(QueryError, match=told):
        answer(spark, warehouse, query)


def test_a_syntax_error_is_one_clear_message(spark: SparkSession, warehouse: Warehouse) -> None:
    with pytest.raises(QueryError) as caught:
        answer(spark, warehouse, "select from where")
    assert "JVM" not in str(caught.value)


def test_an_empty_warehouse_says_how_to_fill_it(spark: SparkSession, tmp_path: Path) -> None:
    empty = open_warehouse(spark, load_config([], [f"paths.warehouse={tmp_path}"]))
    with pytest.raises(QueryError, match=r"(?s)`events`.*empty; fill it first: \./spark-submit\.sh pipeline"):
        answer(spark, empty, "select count(*) from events")


def test_an_empty_warehouse_answers_what_needs_no_table(spark: SparkSession, tmp_path: Path) -> None:
    empty = open_warehouse(spark, load_config([], [f"paths.warehouse={tmp_path}"]))
    assert answer(spark, empty, "select 1 as one", "csv") == "one\n1\n"
