"""Side features against plain Python, and nothing of later in them."""

from __future__ import annotations

import math
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

from purchasepath.config import load_config
from purchasepath.datasets.known_items import KnownItems, find_tellers, write_known_items
from purchasepath.datasets.manifest import Statistics
from purchasepath.datasets.sides import read_sides
from purchasepath.datasets.split import TimeSplit
from purchasepath.errors import ConfigError
from purchasepath.tables.catalog import EVENTS
from tests.datasets.shop import at
from tests.tiny_bundle import tiny_manifest

END = 100
SPLIT = TimeSplit(at(END), at(END + 24), at(END + 48), 24.0, {}, at(END + 48))
STATISTICS = Statistics(math.log(11), 0.5, (), ())
"""A price of 10 is the mean, in the middle step 7."""

Told = tuple[float, str, str | None, str | None, float | None]
TOLD: list[Told] = [  # hour, item, category, brand, price
    *[(hour, "kettle", "kitchen", "acme", 10.0) for hour in range(3)],
    *[(hour, "mug", "kitchen", "bolt", 4.0) for hour in range(4)],
    *[(hour, "rake", "garden", "acme", None) for hour in range(2)],
    (5, "rake", "garden", None, 9_999.0), (99.5, "rake", None, None, None),
    (6, "pot", "kitchen", "solo", 0.0),  # one event: without a history, and the only one of its brand
    (3, "mug", "cups", None, 5.0),  # the second of two at this hour: later by its id
    (2.5, "mug", None, "bolt", None),
]
LATER: list[Told] = [(END, "mug", "garden", "acme", 1.0), (END + 1, "new", "kitchen", "acme", 3.0)]
SHOP = {
    "item_id": ["kettle", "lamp", "spade"], "category": [None, "lighting", "garden"], "brand": ["bolt", None, "acme"],
    "vector": pa.array([[3.0, 4.0], [0.0, 0.0], None], pa.list_(pa.float32())),
}


def events(spark: SparkSession, told: list[Told], late_hours: dict[str, float] | None = None) -> DataFrame:
    rows = []
    for number, (hour, item, category, brand, price) in enumerate(told):
        when = at(hour)
        rows.append({
            "event_id": f"e{number:03d}", "user_id": "ann", "event_ts": when, "item_id": item, "category": category,
            "brand": brand, "price": price, "arrived_at": when + timedelta(hours=(late_hours or {}).get(item, 0.0)),
            "event_date": when.date(),
        })
    return EVENTS.frame(spark, rows)


def known_items(
    spark: SparkSession, directory: Path, seen: DataFrame, asked: str = "category,brand,price,vector", shop: bool = True
) -> tuple[dict[str, dict[str, Any]], KnownItems]:
    """Each item's row of SIDE_FEATURES with its count, and what the manifest will say."""
    directory.mkdir(exist_ok=True)
    pq.write_table(pa.table(SHOP), directory / "items.parquet")
    config = load_config([], [f"dataset.side_features=[{asked}]", "dataset.min_item_count=3",
                              *([f"paths.items={directory / 'items.parquet'}"] if shop else [])])
    end_us = SPLIT.spans[0].end_us
    trained = seen.where(f"unix_micros(event_ts) < {end_us} and unix_micros(arrived_at) <= {end_us}")
    file, items = write_known_items(trained, find_tellers(seen, config), config, SPLIT, STATISTICS, directory, "v1")
    sides = {row["id"]: row for row in pq.read_table(directory / "v1" / "side_features.parquet").to_pylist()}
    rows = {row["item_id"]: {**sides[row["id"]], "count": row["count"]} for row in pq.read_table(file).to_pylist()}
    assert len(rows) == len(sides)
    return rows, items


@pytest.fixture(scope="module")
def written(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, KnownItems]:
    directory = tmp_path_factory.mktemp("items")
    return directory, *known_items(spark, directory, events(spark, TOLD))


def by_hand(told: list[Told]) -> dict[str, dict[str, Any]]:
    """The rows, one item after the other."""
    said: dict[str, dict[str, Any]] = {}
    for _, item, *values in sorted(told, key=lambda t: t[0]):  # stable: ids rise with the place in the list
        for name, value in zip(("category", "brand", "price"), values, strict=True):
            said.setdefault(item, {})
            if value is not None:
                said[item][name] = value
    for number, item in enumerate(SHOP["item_id"]):
        for name in ("category", "brand"):
            if SHOP[name][number] is not None:
                said.setdefault(item, {})[name] = SHOP[name][number]
        said.setdefault(item, {})["vector"] = SHOP["vector"][number].as_py()
    counts = Counter(item for _, item, *_ in told)
    numbers = {}
    for name in ("category", "brand"):
        having = Counter(said[item][name] for item in counts if counts[item] >= 3 and name in said[item])
        ordered = sorted(having, key=lambda value: (-having[value], value))
        numbers[name] = {value: place for place, value in enumerate(ordered, start=1)}
    rows = {}
    for place, item in enumerate(sorted(said, key=lambda item: (-counts[item], item))):
        price, vector = said[item].get("price"), said[item].get("vector")
        step = 0 if price is None else min(13, max(1, math.floor((math.log1p(price) - math.log(11)) / 0.5 * 2 + 7.5)))
        length = math.hypot(*vector) if vector else 0.0
        rows[item] = {
            "id": 3 + place, "price": step, "count": counts[item],
            "vector": [x / length for x in vector] if length else [0.0, 0.0],
            **{name: numbers[name].get(said[item].get(name), 0) for name in ("category", "brand")},
        }
    return rows


def test_numbers_and_vectors_equal_those_of_plain_python(written: tuple[Path, Any, KnownItems]) -> None:
    _, rows, _ = written
    expected = by_hand(TOLD)
    assert rows.keys() == expected.keys() == {"kettle", "mug", "rake", "pot", "lamp", "spade"}
    for item, row in rows.items():
        assert row == {**expected[item], "vector": pytest.approx(expected[item]["vector"])}, item


def test_the_cases_worth_naming(written: tuple[Path, Any, KnownItems]) -> None:
    _, rows, _ = written
    assert rows["kettle"]["brand"] == rows["mug"]["brand"]  # the shop's table says bolt, whatever events said
    assert rows["lamp"]["category"] == rows["pot"]["brand"] == 0  # of no item with a history
    assert [rows[item]["price"] for item in ("kettle", "rake", "pot", "spade")] == [7, 13, 1, 0]
    assert (rows["kettle"]["vector"], rows["lamp"]["vector"]) == (pytest.approx([0.6, 0.8]), [0.0, 0.0])


def test_items_without_a_history_come_last_and_ranks_read_what_was_written(
    written: tuple[Path, Any, KnownItems]
) -> None:
    directory, rows, items = written
    assert (items.num_items, items.num_cold, items.num_known) == (9, 3, 6)
    assert {item for item, row in rows.items() if row["id"] >= items.num_known} == {"pot", "lamp", "spade"}
    assert items.side_features == {"brand": 3, "category": 4, "price": 14, "vector": 2}
    sides = read_sides(directory, tiny_manifest(items.num_items, side_features=items.side_features))
    assert sides is not None
    for row in rows.values():
        assert {name: int(values[row["id"]]) for name, values in sides.number_I.items()} == {
            name: row[name] for name in ("category", "brand", "price")}
        assert sides.vector_IV[row["id"]].tolist() == row["vector"]
    assert not sides.vector_IV[:3].any()
    assert read_sides(directory, tiny_manifest()) is None


def test_what_happens_or_arrives_after_the_training_span_changes_nothing(
    spark: SparkSession, written: tuple[Path, Any, KnownItems], tmp_path: Path
) -> None:
    _, rows, items = written
    too_late = events(spark, [(98, "mug", "garden", "acme", 77.0), (98, "unheard", "garden", "acme", 1.0)],
                      {"mug": 3, "unheard": 3})
    later = events(spark, TOLD).unionByName(events(spark, LATER)).unionByName(too_late)
    assert known_items(spark, tmp_path, later) == (rows, items)


def test_only_what_is_asked_for_is_said(spark: SparkSession, tmp_path: Path) -> None:
    rows, items = known_items(spark, tmp_path, events(spark, TOLD), asked="price", shop=False)
    assert items.side_features == {"price": 14}
    assert rows.keys() == {"kettle", "mug", "rake", "pot"}
    assert {(row["category"], row["brand"], tuple(row["vector"])) for row in rows.values()} == {(0, 0, ())}


def test_vectors_without_a_table_to_read_them_from_are_a_fault_of_the_configuration(
    spark: SparkSession, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"say where it is with paths\.items"):
        known_items(spark, tmp_path, events(spark, TOLD[:1]), asked="vector", shop=False)
