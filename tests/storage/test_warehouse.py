"""The warehouse's contract, on the embedded one; the Hive metastore runs the same in the slow set."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest
from pyspark.sql import SparkSession

from purchasepath.analyses.paths import PATHS
from purchasepath.config import load_config
from purchasepath.errors import PublishError, TableMismatchError, TableMissingError
from purchasepath.storage import open_warehouse
from purchasepath.storage.warehouse import EmbeddedWarehouse
from purchasepath.tables.catalog import CALIBRATION, EVENTS, INGEST_BOOKS, RECOMMENDATIONS
from purchasepath.tables.types import Table

DAY_1 = {"as_of_date": date(2024, 1, 1), "model_name": "a b"}
DAY_2 = {"as_of_date": date(2024, 1, 2), "model_name": "a b"}


def score(user: str, day: dict[str, object], probability: float = 0.5) -> dict[str, object]:
    return {"user_id": user, "score": probability, **day}


@pytest.fixture
def warehouse(spark: SparkSession, tmp_path: Path) -> Iterator[EmbeddedWarehouse]:
    opened = open_warehouse(spark, load_config([], [f"paths.warehouse={tmp_path / 'wh'}"]))
    assert isinstance(opened, EmbeddedWarehouse)
    yield opened
    spark.sql(f"DROP DATABASE IF EXISTS {opened.database} CASCADE")


def users(warehouse: EmbeddedWarehouse) -> list[str]:
    return sorted(r.user_id for r in warehouse.read(RECOMMENDATIONS).collect())


def test_a_table_that_was_never_written_names_the_stage_that_writes_it(warehouse: EmbeddedWarehouse) -> None:
    with pytest.raises(TableMissingError, match=r"spark-submit\.sh score"):
        warehouse.read(RECOMMENDATIONS)


def test_rows_come_back_as_declared_with_comments(warehouse: EmbeddedWarehouse, spark: SparkSession) -> None:
    at = datetime(2024, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)
    with warehouse.transaction("r1") as work:
        assert work.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark, [score("u", DAY_1) | {"as_of": at}])) == 1
    row = warehouse.read(RECOMMENDATIONS).first()
    assert row is not None
    assert (row.as_of.replace(tzinfo=UTC), row.as_of_date, row.model_name) == (at, date(2024, 1, 1), "a b")
    comments = {c.name: c.description for c in spark.catalog.listColumns(f"{warehouse.database}.recommendations")}
    assert comments["user_id"] == "keyed pseudonym of the visitor"


def test_named_partitions_are_replaced_and_all_others_stay(warehouse: EmbeddedWarehouse, spark: SparkSession) -> None:
    with warehouse.transaction("r1") as work:
        work.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark, [score("old1", DAY_1), score("old2", DAY_2)]))
    with warehouse.transaction("r2") as work:
        work.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark, [score("new2", DAY_2)]), partitions=[DAY_2])
    assert users(warehouse) == ["new2", "old1"]
    with warehouse.transaction("r3") as work:
        work.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark), partitions=[DAY_1])
    assert users(warehouse) == ["new2"]


def test_added_rows_join_their_partitions_and_named_ones_are_replaced(
    warehouse: EmbeddedWarehouse, spark: SparkSession
) -> None:
    with warehouse.transaction("r1") as work:
        rows = [score("a1", DAY_1), score("a2", DAY_2), score("a3", DAY_2)]
        assert work.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark, rows), append=True) == 3
        work.write(PATHS, PATHS.frame(spark, [{"path": "view"}]))
    before = warehouse.fingerprints(RECOMMENDATIONS)
    with warehouse.transaction("r2") as work:
        added = RECOMMENDATIONS.frame(spark, [score("b1", DAY_1), score("b2", DAY_2)])
        kept = warehouse.read(RECOMMENDATIONS).where("user_id = 'a3'")
        assert work.write(RECOMMENDATIONS, added, partitions=[DAY_2], append=True, kept=kept) == 2
        work.write(PATHS, PATHS.frame(spark, [{"path": "cart"}]), append=True)
        left = sorted(row.user_id for row in work.read(RECOMMENDATIONS).collect())
        assert (left, work.read(PATHS).count()) == (["a1", "a3", "b1", "b2"], 2)  # what nobody else can see yet
        with pytest.raises(TableMissingError):
            work.read(CALIBRATION)
        assert users(warehouse) == ["a1", "a2", "a3"]
    assert users(warehouse) == ["a1", "a3", "b1", "b2"]
    assert warehouse.read(PATHS).count() == 2
    after = warehouse.fingerprints(RECOMMENDATIONS)
    assert set(after) == set(before) == {"as_of_date=2024-01-01/model_name=a b", "as_of_date=2024-01-02/model_name=a b"}
    assert not set(after.values()) & set(before.values())
    assert list(warehouse.fingerprints(PATHS)) == [""]
    assert warehouse.fingerprints(CALIBRATION) == {}


def test_adding_nothing_changes_no_file_and_clashes_with_nobody(
    warehouse: EmbeddedWarehouse, spark: SparkSession, tmp_path: Path
) -> None:
    with warehouse.transaction("r1") as work:
        work.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark), append=True)
    assert warehouse.read(RECOMMENDATIONS).count() == 0
    other = open_warehouse(spark, load_config([], [f"paths.warehouse={tmp_path / 'wh'}"]))
    with warehouse.transaction("r2") as work:
        assert work.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark), append=True) == 0
        with other.transaction("r3") as theirs:
            theirs.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark, [score("u", DAY_1)]), append=True)
    files = warehouse.fingerprints(RECOMMENDATIONS)
    with warehouse.transaction("r4") as work:
        work.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark), append=True)
    assert (users(warehouse), warehouse.fingerprints(RECOMMENDATIONS)) == (["u"], files)


def test_of_two_that_add_at_once_one_wins_whole_and_the_other_is_told(
    warehouse: EmbeddedWarehouse, spark: SparkSession, tmp_path: Path
) -> None:
    other = open_warehouse(spark, load_config([], [f"paths.warehouse={tmp_path / 'wh'}"]))
    with warehouse.transaction("r1") as work:
        work.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark, [score("a", DAY_1)]))
    with pytest.raises(PublishError, match="Run this job again"), warehouse.transaction("r2") as work:
        work.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark, [score("mine", DAY_2)]), append=True)
        work.write(PATHS, PATHS.frame(spark, [{"path": "mine"}]))
        with other.transaction("r3") as theirs:
            theirs.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark, [score("theirs", DAY_1)]), append=True)
    assert users(other) == ["a", "theirs"]
    assert not other.exists(PATHS)


def test_an_exception_leaves_every_table_as_it_was(warehouse: EmbeddedWarehouse, spark: SparkSession) -> None:
    with warehouse.transaction("r1") as work:
        work.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark, [score("old", DAY_1)]))
    with pytest.raises(ZeroDivisionError), warehouse.transaction("r2") as work:
        work.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark, [score("new", DAY_1)]))
        raise ZeroDivisionError
    assert users(warehouse) == ["old"]


def test_a_frame_that_does_not_match_lists_every_difference(warehouse: EmbeddedWarehouse, spark: SparkSession) -> None:
    frame = spark.createDataFrame([("all", "1")], "model string, points string")
    with pytest.raises(TableMismatchError) as caught, warehouse.transaction("r1") as work:
        work.write(CALIBRATION, frame)
    assert caught.value.differences == [
        "column bin int is missing", "column points: expected bigint, found string",
        "column mean_predicted double is missing", "column observed double is missing",
        "column task string is missing",
    ]


def test_a_table_of_another_release_that_no_migration_knows_is_refused(
        warehouse: EmbeddedWarehouse, spark: SparkSession) -> None:
    older = Table(PATHS.name, PATHS.grain, PATHS.written_by, PATHS.columns[:-1], key=PATHS.key)
    with warehouse.transaction("r1") as work:
        work.write(older, older.frame(spark, [{}]))
    with pytest.raises(TableMismatchError, match=r"a later one are read by its code alone") as caught:
        warehouse.read(PATHS)
    assert caught.value.differences[0] == f"column {PATHS.names[-1]} is missing in the stored files"


def test_a_column_younger_than_the_stored_files_is_null_in_them(
        warehouse: EmbeddedWarehouse, spark: SparkSession) -> None:
    older = replace(EVENTS, columns=tuple(c for c in EVENTS.columns if c.name != "tie_order"))
    with warehouse.transaction("r1") as work:
        work.write(older, older.frame(spark, [{"event_id": "before"}]))
    with warehouse.transaction("r2") as work:
        work.write(EVENTS, EVENTS.frame(spark, [{"event_id": "after", "tie_order": 7}]), append=True)
    found = {(row.event_id, row.tie_order) for row in warehouse.read(EVENTS).collect()}
    assert found == {("before", None), ("after", 7)}


def test_a_column_that_was_added_since_is_null_in_what_earlier_releases_wrote(
        warehouse: EmbeddedWarehouse, spark: SparkSession) -> None:
    older = replace(INGEST_BOOKS, columns=tuple(c for c in INGEST_BOOKS.columns if not c.nullable))
    with warehouse.transaction("r1") as work:
        work.write(older, older.frame(spark, [{"run_id": "old"}]))
    with warehouse.transaction("r2") as work:
        work.write(INGEST_BOOKS, INGEST_BOOKS.frame(spark, [{"run_id": "new", "run_number": 2}]), append=True)
    found = warehouse.read(INGEST_BOOKS).orderBy("run_id").collect()
    assert [(row.run_id, row.run_number) for row in found] == [("new", 2), ("old", None)]


def test_a_transactions_number_is_above_those_of_all_it_sees(
        warehouse: EmbeddedWarehouse, spark: SparkSession) -> None:
    numbers = []
    for name in ("z", "y", "x"):
        with warehouse.transaction(name) as work:
            numbers.append(work.number)
            work.write(PATHS, PATHS.frame(spark, [{"path": name}]))
        with warehouse.transaction("changes nothing") as work:
            assert work.number == numbers[-1] + 1
    assert numbers == [1, 2, 3]


def test_a_null_where_none_is_declared_publishes_nothing(warehouse: EmbeddedWarehouse, spark: SparkSession) -> None:
    frame = PATHS.frame(spark, [{"path": "view"}]).selectExpr(
        "nullif(path, 'view') AS path", *[n for n in PATHS.names if n != "path"])
    with pytest.raises(PublishError, match="1 nulls in path"), warehouse.transaction("r1") as work:
        work.write(PATHS, frame)
    assert not warehouse.exists(PATHS)


def test_rows_outside_the_named_partitions_publish_nothing(warehouse: EmbeddedWarehouse, spark: SparkSession) -> None:
    with pytest.raises(PublishError, match="only"), warehouse.transaction("r1") as work:
        work.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark, [score("u", DAY_1)]), partitions=[DAY_2])
    assert not warehouse.exists(RECOMMENDATIONS)


def test_duckdb_reads_the_current_files(warehouse: EmbeddedWarehouse, spark: SparkSession, tmp_path: Path) -> None:
    with warehouse.transaction("r1") as work:
        work.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark, [score("u", DAY_1, 0.25), score("v", DAY_2)]))
    files = tmp_path / "wh/current/recommendations/**/*.parquet"
    scores = duckdb.read_parquet(str(files), hive_partitioning=True).order("user_id")
    rows = scores.project("user_id, CAST(as_of_date AS VARCHAR), model_name, score").fetchall()
    assert rows == [("u", "2024-01-01", "a b", 0.25), ("v", "2024-01-02", "a b", 0.5)]


def test_a_materialized_frame_is_computed_once_and_gone_afterwards(
    warehouse: EmbeddedWarehouse, spark: SparkSession, tmp_path: Path
) -> None:
    with warehouse.transaction("r1") as work:
        kept = work.materialize(spark.range(5).selectExpr("id", "uuid() AS random"), "ids")
        assert kept.collect() == kept.collect()
    assert not list((tmp_path / "wh/staging").iterdir())


@pytest.mark.slow
def test_another_process_reads_a_consistent_state_while_we_write_and_leaves_nothing_where_it_stands(
    warehouse: EmbeddedWarehouse, spark: SparkSession, tmp_path: Path
) -> None:
    with warehouse.transaction("r1") as work:
        work.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark, [score("u", DAY_1)]))
    program = (
        "import sys; from purchasepath.config import load_config; from purchasepath.storage import open_warehouse\n"
        "from purchasepath.storage.session import build_session\n"
        "from purchasepath.tables.catalog import RECOMMENDATIONS\n"
        f"config = load_config([], ['paths.warehouse={tmp_path / 'wh'}'])\n"
        "reader = open_warehouse(build_session('reader', config, master='local[1]'), config)\n"
        "frame = reader.read(RECOMMENDATIONS); print('pinned', flush=True); sys.stdin.readline()\n"
        "print('rows', [r.user_id for r in frame.collect()])\n"
    )
    root = Path(__file__).resolve().parents[2]
    stands = tmp_path / "stands"
    stands.mkdir()
    reader = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              text=True, cwd=stands, env={**os.environ, "PYTHONPATH": str(root / "lib")})
    assert reader.stdout is not None
    assert reader.stdout.readline() == "pinned\n"
    for i in range(5):
        with warehouse.transaction(f"w{i}") as work:
            work.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark, [score(f"new{i}", DAY_1)]))
    output, _ = reader.communicate("go\n", timeout=120)
    assert output == "rows ['u']\n"
    assert not list(stands.iterdir())
    assert users(warehouse) == ["new4"]
