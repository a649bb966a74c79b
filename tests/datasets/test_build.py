"""The dataset as a whole: the same files whatever the partitions, equal row groups, an atomic switch."""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections import Counter
from pathlib import Path

import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

from purchasepath.config import Config, load_config
from purchasepath.datasets.batch import batch_from_rows
from purchasepath.datasets.build import Report, build_dataset
from purchasepath.datasets.manifest import SPLITS, DatasetMissingError, Manifest
from purchasepath.datasets.reader import ExampleReader
from purchasepath.datasets.rows import COLUMNS
from purchasepath.datasets.shop_items import ShopItemsError
from purchasepath.datasets.split import DataTooShortError
from purchasepath.datasets.vocabulary import EmptyVocabularyError, fit_vocabulary, summarize_vocabulary
from purchasepath.datasets.writer import publish, write_examples, write_vocabulary
from purchasepath.errors import InputError
from purchasepath.tables.catalog import EXAMPLES
from tests.datasets.shop import Event, features_at, partials_of, sessions_of

KNOBS = ["dataset.horizon_hours=24", "dataset.valid_hours=48", "dataset.test_hours=48", "dataset.max_length=8",
         "dataset.rows_per_group=16", "dataset.min_item_count=2", "features.every_hours=24"]


def config(directory: Path, *more: str) -> Config:
    return load_config([], [f"paths.dataset={directory}", *KNOBS, *more])


def shop(spark: SparkSession) -> tuple[DataFrame, DataFrame, DataFrame]:
    chance = random.Random(2)
    events = [
        Event(f"u{chance.randrange(70)}", round(chance.random() * 239, 3),
              chance.choice([None, *[f"i{k}" for k in range(9)]]), chance.choice(["view", "cart", "purchase"]),
              chance.choice([None, 1.5, 7.25, 30.0]), late_hours=chance.choice([0, 0, 0, 0, 3]), id=f"e{number:04d}")
        for number in range(500)
    ]
    points = [(f"u{user}", hour, chance.random()) for user in range(70) for hour in range(24, 241, 24)]
    sessions = sessions_of(spark, events, bots=["u7"])
    return sessions, features_at(spark, points), partials_of(sessions)


@pytest.fixture(scope="module")
def dataset(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    directory = tmp_path_factory.mktemp("dataset")
    return directory, build_dataset(*shop(spark), config(directory), version="v1")


def digests(directory: Path) -> dict[str, str]:
    """sha256 of every data file, by its path within the version."""
    files = sorted(directory.glob("v*/**/*.parquet"))
    return {"/".join(f.relative_to(directory).parts[1:]): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_row_groups_are_equal_and_the_manifest_knows_them(dataset: tuple[Path, Report]) -> None:
    directory, report = dataset
    manifest = Manifest.load(directory)
    assert manifest == report.manifest
    for split in SPLITS:
        groups = manifest.splits[split]
        assert {group.rows for group in groups[:-1]} == {16}
        assert 0 < groups[-1].rows <= 16
        assert manifest.rows(split) == report.counts[split].examples
        for group in groups:
            found = pq.ParquetFile(directory / group.file).metadata.row_group(group.row_group)
            assert (found.num_rows, found.total_byte_size) == (group.rows, group.bytes)
    assert len(manifest.splits["train"]) >= 3


def test_files_hold_exactly_the_declared_columns_and_no_nulls(dataset: tuple[Path, Report]) -> None:
    directory, report = dataset
    table = pads.dataset(directory / "v1" / "examples", partitioning="hive").to_table()
    assert set(table.column_names) == set(EXAMPLES.names)
    assert len(set(table.column("example_id").to_pylist())) == table.num_rows
    for name in COLUMNS:
        values = table.column(name).combine_chunks()
        assert values.null_count == values.flatten().null_count == 0
        decimal = name in ("gap", "price", "idle", "features", "labels")
        assert str(values.type.value_type) == ("float" if decimal else "int32")
    counts = Counter(table.column("split").to_pylist())
    assert counts == {split: report.counts[split].examples for split in SPLITS}


def test_the_same_data_on_other_partitions_gives_the_same_files(
    spark: SparkSession, dataset: tuple[Path, Report], tmp_path: Path
) -> None:
    directory, report = dataset
    sessions, features, partials = shop(spark)
    shuffle_partitions = spark.conf.get("spark.sql.shuffle.partitions")
    spark.conf.set("spark.sql.shuffle.partitions", "3")
    try:
        again = build_dataset(sessions.repartition(5), features.repartition(2, "as_of"), partials.repartition(3),
                              config(tmp_path), version="v2")
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", str(shuffle_partitions))
    assert digests(tmp_path) == digests(directory)
    assert again.manifest.fingerprint == report.manifest.fingerprint


def test_every_example_written_is_read_once(dataset: tuple[Path, Report]) -> None:
    directory, report = dataset
    manifest = report.manifest
    written = pads.dataset(directory / "v1" / "examples" / "split=train").to_table()
    read: Counter[tuple[int, ...]] = Counter()
    for rank in range(2):
        reader = ExampleReader(manifest, directory, "train", rank=rank, num_ranks=2, lanes=4, batch_size=10, seed=1,
                               epoch=3)
        for batch in map(batch_from_rows, reader):
            assert batch.features_PF.shape[1] == manifest.num_features
            read.update(tuple(item for item in row if item) for row in batch.item_BL.tolist())
    assert read == Counter(tuple(row) for row in written.column("item").to_pylist())


@pytest.mark.slow
def test_what_happens_after_the_training_span_leaves_its_files_statistics_and_vocabulary_alone(
    dataset: tuple[Path, Report], spark: SparkSession, tmp_path: Path
) -> None:
    directory, report = dataset
    sessions, features, partials = shop(spark)
    later = sessions_of(spark, [Event("u1", 150 + n, "i1", "view", price=9999.0, id=f"z{n}") for n in range(40)])
    changed = build_dataset(sessions.unionByName(later), features, partials, config(tmp_path), version="v3")
    assert changed.manifest.statistics == report.manifest.statistics
    assert changed.manifest.vocabulary_sha == report.manifest.vocabulary_sha
    before, after = ({name: digest for name, digest in digests(d).items() if "split=train" in name or "voc" in name}
                     for d in (directory, tmp_path))
    assert before == after
    assert len(before) == len({g.file for g in report.manifest.splits["train"]}) + 1
    assert changed.manifest.fingerprint != report.manifest.fingerprint


def test_the_vocabulary_is_ordered_by_count_then_item_and_bounded(spark: SparkSession, tmp_path: Path) -> None:
    items = ["b"] * 3 + ["a"] * 3 + ["c"] * 5 + ["d"] * 2 + ["e"] + [None] * 9
    events = spark.createDataFrame([(item,) for item in items], "item_id string")
    fitted = fit_vocabulary(events, min_item_count=2, max_items=3)
    file = write_vocabulary(fitted, tmp_path, "v")
    assert pq.read_table(file).to_pylist() == [
        {"item_id": "c", "id": 3, "count": 5},
        {"item_id": "a", "id": 4, "count": 3},
        {"item_id": "b", "id": 5, "count": 3},
    ]
    assert summarize_vocabulary(file)[0] == 6


def test_many_files_and_empty_splits_keep_row_groups_full(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("purchasepath.datasets.writer.ROWS_PER_FILE", 10)
    rows = [{"example_id": n, "split": "train" if n % 4 else "test", "item": [n]} for n in range(53)]
    frame = EXAMPLES.frame(spark, rows).selectExpr("'u' || example_id as user_id", "*")
    write_examples(frame, {"train": 39, "test": 14}, tmp_path, "v", rows_per_group=4, seed=1)
    for split, count in (("train", 39), ("test", 14)):
        files = sorted((tmp_path / "v" / "examples" / f"split={split}").glob("*.parquet"))
        assert len(files) > 2
        footers = [pq.read_metadata(file) for file in files]
        sizes = [footer.row_group(i).num_rows for footer in footers for i in range(footer.num_row_groups)]
        assert sum(sizes) == count
        assert set(sizes[:-1]) == {4}
    assert list((tmp_path / "v" / "examples" / "split=valid").iterdir()) == []


def test_publishing_keeps_the_version_before_and_removes_older_ones(
    dataset: tuple[Path, Report], tmp_path: Path
) -> None:
    for version in ("a", "b", "c"):
        (tmp_path / version / "examples").mkdir(parents=True)
        (tmp_path / "notes").mkdir(exist_ok=True)
        publish(dataclasses.replace(dataset[1].manifest, version=version), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "c", "manifest.json", "notes"]


def test_data_that_cannot_be_used_is_an_error_and_leaves_the_dataset_as_it_was(
    spark: SparkSession, dataset: tuple[Path, Report]
) -> None:
    directory, report = dataset
    sessions, features, partials = shop(spark)
    with pytest.raises(DataTooShortError, match=r"dataset\.valid_hours=960"):
        build_dataset(sessions, features, partials, config(directory, "dataset.valid_hours=960"), version="v4")
    with pytest.raises(EmptyVocabularyError, match=r"dataset\.min_item_count=500 events"):
        build_dataset(sessions, features, partials, config(directory, "dataset.min_item_count=500"), version="v4")
    with pytest.raises(InputError, match="sessions has no rows"):
        build_dataset(sessions.limit(0), features, partials, config(directory), version="v4")
    asked = config(directory, "dataset.side_features=[price]", "paths.items=nowhere.parquet")
    with pytest.raises(ShopItemsError, match=r"nowhere\.parquet"):  # before anything is read
        build_dataset(sessions.limit(0), features, partials, asked, version="v4", events=sessions)
    assert Manifest.load(directory) == report.manifest
    assert not (directory / "v4").exists()
    with pytest.raises(DatasetMissingError):
        Manifest.load(directory / "v4")
