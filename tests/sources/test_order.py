"""The order of events of one instant: a file's own, across files that of the event types, then the id."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

from purchasepath.analyses.funnel import steps_reached
from purchasepath.config import Sessions
from purchasepath.sessions.engine.sessionize import sessionize
from purchasepath.sources.cleaning import judge, keep_accepted, read_rows
from purchasepath.sources.direction import runs_backwards, split_by_direction
from purchasepath.sources.layout import find_source_layouts
from purchasepath.sources.mapping import Source
from purchasepath.sources.reading import reading_session
from purchasepath.tables.catalog import EVENT_TYPES
from tests.sources.reading import KEY, NOW, source_of, write_files

FIELDS = {"user_id": "u", "event_ts": "t", "event_type": "e", "item_id": "i"}
CSV = source_of(format="csv", fields=FIELDS)
Row = tuple[str, str, str, str]
"""Visitor, time, event type, item; the text that an event's id is made of."""


def text(rows: Sequence[Row]) -> str:
    return "u,t,e,i\n" + "".join(",".join(row) + "\n" for row in rows)


def events_of(spark: SparkSession, source: Source, directory: str, **settings: str) -> DataFrame:
    """EVENTS of the files of a directory, read with some settings of Spark's."""
    reader = reading_session(spark)
    for key, value in settings.items():
        reader.conf.set(key.replace("__", "."), value)
    found = split_by_direction(reader, find_source_layouts(reader, source, directory))
    return keep_accepted(judge(read_rows(reader, source, found.layouts, NOW), KEY))


def types_in_order(events: DataFrame) -> dict[str, str]:
    """Item → event types in the order of the events."""
    found = defaultdict(list)
    for row in events.orderBy("event_ts", "tie_order", "event_id").collect():
        found[row["item_id"]].append(row["event_type"])
    return {item: " ".join(types) for item, types in found.items()}


def test_view_cart_and_purchase_of_one_instant_reach_every_step_whatever_the_resolution(
        spark: SparkSession, tmp_path: Path) -> None:
    times = {"second": "2024-01-01 10:00:{:02d}", "minute": "2024-01-01 10:{:02d}", "day": "2024-01-01"}
    files = {f"{name}.csv": text([(f"{name}{n}", time.format(n), step, name) for n in range(40)
                                  for step in ("view", "cart", "purchase")]) for name, time in times.items()}
    sessions = sessionize(events_of(spark, CSV, write_files(tmp_path, files)), Sessions())
    steps = ("view", "cart", "purchase")
    reached = sessions.selectExpr("item_ids[0] AS item", "*").select(
        "item", steps_reached(sessions["event_types"], steps).alias("steps"))
    assert {(row["item"], row["steps"]): row["count"] for row in reached.groupBy("item", "steps").count().collect()} \
        == {(name, 3): 40 for name in times}


def test_positions_count_in_every_format_and_however_files_are_split(spark: SparkSession, tmp_path: Path) -> None:
    """Each visitor's way is one that neither event types nor ids would give."""
    way = ("purchase", "view", "return", "search", "cart", "checkout", "remove")
    rows = {name: [(f"u{n % 3}", "2024-01-01", step, f"{name}{n % 3}{'x' * (n // 3 % 2)}") for n, step in enumerate(
        step for step in way for _ in range(3))] for name in ("plain", "packed", "quoted", "lines", "array", "table")}
    keyed = {name: [dict(zip("utei", row, strict=True)) for row in some] for name, some in rows.items()}
    directory = write_files(tmp_path, {
        "plain.csv": text(rows["plain"]), "packed.csv.gz": text(rows["packed"]),
        "quoted.csv": text(rows["quoted"]) + 'u,"2024-01-01","view","two\nlines"\n',
        "lines.jsonl": "".join(json.dumps(row) + "\n" for row in keyed["lines"]),
        "array.json": json.dumps(keyed["array"]),
    })
    pq.write_table(pa.Table.from_pylist(keyed["table"]), tmp_path / "table.parquet", row_group_size=2)
    source = Source.model_validate({"name": "shop", "inputs": [
        {"name": name, "files": files, "format": name, "fields": FIELDS, **more} for name, files, more in (
            ("csv", "*.csv*", {}), ("json", "*.json*", {}), ("parquet", "*.parquet", {}))]})
    in_splits = events_of(spark, source, directory, spark__sql__files__maxPartitionBytes="64",
                          spark__sql__files__openCostInBytes="0")
    expected = {}
    for some in rows.values():
        for item in {row[3] for row in some}:
            expected[item] = " ".join(row[2] for row in some if row[3] == item)
    assert types_in_order(in_splits) == {**expected, "two\nlines": "view"}


def test_a_newest_first_file_and_parts_of_an_instant_go_by_type(spark: SparkSession, tmp_path: Path) -> None:
    down = [("u", f"2024-01-0{day}", step, f"down{day}") for day in (3, 2, 1) for step in ("purchase", "cart", "view")]
    parts = [("v", "2024-01-01", step, "parts") for step in ("purchase", "view", "checkout", "cart", "search")]
    directory = write_files(tmp_path, {"down.csv": text(down), "a.csv": text(parts[1:2]), "b.csv": text(parts[:1]),
                                       "c.csv": text(parts[2:3]), "d.csv": text(parts[3:])})
    assert types_in_order(events_of(spark, CSV, directory)) == {
        "down1": "view cart purchase", "down2": "view cart purchase", "down3": "view cart purchase",
        "parts": "view cart search checkout purchase"}  # as d.csv has it, a search follows the cart


def test_rejected_records_and_copies_do_not_change_an_order(spark: SparkSession, tmp_path: Path) -> None:
    way = [("u", "2024-01-01", step, "i") for step in ("cart", "view", "purchase")]
    broken = ("u", "2024-01-01", "teleport", "i")
    lines = [way[0], broken, *way[:2], broken, way[1], way[2], way[0]]
    directory = write_files(tmp_path, {"a.csv": text(lines), "part.csv": text(way[2:])})  # the part knows no order
    rows = events_of(spark, CSV, directory).orderBy("tie_order").collect()
    assert [(row["event_type"], row["tie_order"]) for row in rows] == [
        ("cart", 3 << 27), ("view", 3 << 27 | 2), ("purchase", 6 << 27 | 4)]


def test_a_number_of_the_shops_own_comes_before_the_place_in_the_file(spark: SparkSession, tmp_path: Path) -> None:
    numbers = (2**40, 3, 1, 2, 0)
    rows = [("u", "2024-01-01", "view", f"i{number}", str(number)) for number in numbers]
    lines = [",".join(row) + "\n" for row in rows]
    source = source_of(format="csv", sequence="n", fields={**FIELDS, "event_id": "i"})
    directory = write_files(tmp_path, {"b.csv": "u,t,e,i,n\n" + "".join(lines[:3]),
                                       "a.csv": "u,t,e,i,n\n" + "".join(lines[3:])})
    ordered = events_of(spark, source, directory).orderBy("event_ts", "tie_order", "event_id").collect()
    assert [row["item_id"] for row in ordered] == [f"i{number}" for number in sorted(numbers)]


def by_the_rule(files: Mapping[str, Sequence[Row]]) -> dict[Row, int]:
    """`tie_order` of every event, by a plain loop: the largest that a file gives to the first of its copies."""
    found: dict[Row, int] = {}
    for rows in files.values():
        backwards = runs_backwards([(row[0], int(row[1][-2:])) for row in rows])
        instants: dict[tuple[str, str], list[int]] = defaultdict(list)
        told: dict[Row, int] = {}
        for row in rows:
            rank = EVENT_TYPES.index(row[2])
            ranks = instants[row[:2]]
            ranks.append(rank)
            order = rank << 27 if backwards else max(ranks) << 27 | len(ranks) - 1
            told[row] = min(order, told.get(row, order))
        found |= {row: max(order, found.get(row, order)) for row, order in told.items()}
    return found


def random_files(seed: int) -> dict[str, list[Row]]:
    """Files of a few visitors and instants: sorted one way or the other or not at all, sharing some events."""
    rng = Random(seed)

    def row() -> Row:
        day, item = rng.randrange(1, 5), rng.randrange(4)
        return f"u{rng.randrange(3)}", f"2024-01-0{day}", rng.choice(EVENT_TYPES), str(item)

    shared = [row() for _ in range(8)]
    files = {}
    for number in range(6):
        rows = [row() for _ in range(rng.randrange(1, 40))] + rng.sample(shared, 4)
        if number % 3:
            rows.sort(key=lambda row: row[1], reverse=number % 3 == 2)
        files[f"{number}.csv{rng.choice(['', '.gz'])}"] = rows
    return files


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_tie_orders_equal_the_plain_loop(spark: SparkSession, tmp_path: Path, seed: int) -> None:
    files = random_files(seed)
    directory = write_files(tmp_path, {name: text(rows) for name, rows in files.items()})
    rows: list[Any] = events_of(spark, CSV, directory, spark__sql__files__maxPartitionBytes="100",
                                spark__sql__files__openCostInBytes="0").collect()
    raw_ids = {row["user_id"] for row in rows}
    assert len(raw_ids) == 3
    found = sorted((str(row["event_date"]), row["event_type"], row["item_id"], row["tie_order"]) for row in rows)
    assert found == sorted((at, kind, item, order) for (_, at, kind, item), order in by_the_rule(files).items())
