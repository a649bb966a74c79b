"""The shop on disk: the same on any partitions, all or nothing, and never over somebody's data."""

from __future__ import annotations

import gzip
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from purchasepath.config import Simulate
from purchasepath.errors import InputError
from purchasepath.synthetic import shop
from purchasepath.synthetic.paths import PathModel
from purchasepath.synthetic.population import draw_journeys
from purchasepath.synthetic.truth import SHOP_ITEMS, TRUE_EVENTS, TRUE_ITEMS, TRUE_VISITORS, TRUTH_TABLES

SHOP = Simulate(users=120, days=10, items=60, seed=9, malformed_share=0.01)


def lines_by_file(raw: Path) -> list[list[bytes]]:
    return sorted(gzip.decompress(file.read_bytes()).splitlines() for file in raw.glob("events/part-*.txt.gz"))


@pytest.fixture(scope="module")
def written(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, shop.Counts]:
    raw = tmp_path_factory.mktemp("shop") / "deep" / "raw"
    return raw, shop.write_shop(spark, SHOP, str(raw), "run-1", partitions=1)


def test_journeys_are_the_same_on_any_number_of_partitions(spark: SparkSession) -> None:
    drawn = [draw_journeys(spark, SHOP, PathModel(), partitions).collect() for partitions in (1, 3, 7)]
    assert len(drawn[0]) == SHOP.users
    for other in drawn[1:]:
        assert sorted(other, key=lambda row: row.visitor) == sorted(drawn[0], key=lambda row: row.visitor)


def test_writing_again_on_other_partitions_replaces_the_shop_with_the_same_files(
    spark: SparkSession, written: tuple[Path, shop.Counts], tmp_path: Path
) -> None:
    raw, counts = written
    shutil.copytree(raw, tmp_path / "raw")
    (tmp_path / "raw" / "events" / "part-of-the-earlier-shop").touch()
    assert shop.write_shop(spark, SHOP, str(tmp_path / "raw"), "run-2", partitions=3) == counts
    assert lines_by_file(tmp_path / "raw") == lines_by_file(raw)
    assert not (tmp_path / "raw" / "events" / "part-of-the-earlier-shop").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_counts_and_truth_agree_with_the_lines(spark: SparkSession, written: tuple[Path, shop.Counts]) -> None:
    raw, counts = written
    lines = [line for file in lines_by_file(raw) for line in file]
    broken = [line for line in lines if b"-broken" in line]
    ids = Counter(json.loads(line)["id"] for line in lines if b"-broken" not in line)
    truth = {table.name: spark.read.parquet(str(raw / "truth" / table.name)) for table in TRUTH_TABLES}
    assert (len(lines), len(broken), len(ids)) == (counts.lines, counts.broken, counts.events)
    true_events = truth["events"].collect()
    assert {row.event_id for row in true_events} == set(ids)
    assert {row.event_id for row in true_events if row.delivered_twice} == {i for i, n in ids.items() if n == 2}
    assert len({(row.visitor, row.session_number) for row in true_events}) == counts.sessions
    assert truth["visitors"].count() == counts.visitors == SHOP.users
    assert truth["items"].count() == SHOP.items


def test_tables_beside_the_events_are_as_declared(spark: SparkSession, written: tuple[Path, shop.Counts]) -> None:
    for table, place in ((TRUE_EVENTS, "truth/events"), (TRUE_VISITORS, "truth/visitors"), (TRUE_ITEMS, "truth/items"),
                         (SHOP_ITEMS, "catalogue")):
        frame = spark.read.parquet(str(written[0] / place))
        assert table.differences(frame) == []
        assert tuple(frame.columns) == table.names


def test_the_documents_say_synthetic_and_name_seed_matrix_and_effects(written: tuple[Path, shop.Counts]) -> None:
    truth = written[0] / "truth"
    parameters = json.loads((truth / "shop.json").read_text())
    assert parameters["synthetic"] is True
    assert parameters["parameters"] == SHOP.model_dump()
    assert (truth / "README.txt").read_text().startswith("SYNTHETIC")
    assert json.loads((truth / "transitions.json").read_text())["start"]["view"] == 0.4
    assert {e["factor"] for e in json.loads((truth / "effects.json").read_text())["log_odds"]} > {"price", "promotion"}


def test_a_failed_run_leaves_the_earlier_shop_and_nothing_else(
    spark: SparkSession, written: tuple[Path, shop.Counts], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, _ = written
    before = lines_by_file(raw)

    def fail(*_: object) -> None:
        raise RuntimeError("disk full")

    monkeypatch.setattr(shop, "_write_truth", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        shop.write_shop(spark, SHOP.model_copy(update={"seed": 10}), str(raw), "run-3")
    assert lines_by_file(raw) == before
    assert [path.name for path in raw.parent.iterdir()] == ["raw"]


def test_a_directory_with_other_data_is_refused_and_kept(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("mine")
    with pytest.raises(InputError, match="not a synthetic shop"):
        shop.write_shop(spark, SHOP, str(tmp_path), "run")
    assert (tmp_path / "events.csv").read_text() == "mine"


def test_several_paths_are_refused(spark: SparkSession) -> None:
    with pytest.raises(InputError, match="one directory"):
        shop.write_shop(spark, SHOP, "a,b", "run")
