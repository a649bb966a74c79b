"""The installed Petastorm, and its data sets of pieces, on Parquet files as we write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from petastorm import make_batch_reader
from pyarrow import fs

from tests.environment.scripts import load

legacy_parquet = load("legacy_parquet", "petastorm_additions")

ROWS, ROWS_PER_GROUP = 200, 10


@pytest.fixture
def file(tmp_path: Path) -> Path:
    table = pa.table({
        "user": pa.array(range(ROWS), pa.int64()), "price": pa.array(np.arange(ROWS) / 4, pa.float32()),
        "name": [f"Besucher № {user}" for user in range(ROWS)],
        "items": pa.array([[user, user + 1, user + 2] for user in range(ROWS)], pa.list_(pa.int32())),
    })
    pq.write_table(table, tmp_path / "users.parquet", row_group_size=ROWS_PER_GROUP, compression="zstd")
    return tmp_path / "users.parquet"


def test_an_epoch_delivers_every_row_once_with_its_values(file: Path) -> None:
    with make_batch_reader(file.as_uri(), shuffle_row_groups=True, num_epochs=1) as reader:
        batches = list(reader)
    assert [len(batch.user) for batch in batches] == [ROWS_PER_GROUP] * (ROWS // ROWS_PER_GROUP)
    users = np.concatenate([batch.user for batch in batches])
    assert sorted(users.tolist()) == list(range(ROWS))
    assert np.concatenate([batch.price for batch in batches]).tolist() == (users / 4).tolist()
    assert np.concatenate([batch.name for batch in batches]).tolist() == [f"Besucher № {user}" for user in users]
    assert np.concatenate([batch.items for batch in batches]).tolist() == [[u, u + 1, u + 2] for u in users]
    assert {batch.name.dtype.kind for batch in batches} == {"U"}  # NumPy's text, not an array of pandas'


def test_the_second_epoch_visits_row_groups_in_another_order(file: Path) -> None:
    with make_batch_reader(file.as_uri(), num_epochs=2, seed=3, workers_count=1) as reader:
        first = [int(batch.user[0]) for batch in reader]
    epochs = first[:ROWS // ROWS_PER_GROUP], first[ROWS // ROWS_PER_GROUP:]
    assert sorted(epochs[0]) == sorted(epochs[1])
    assert epochs[0] != epochs[1] != sorted(epochs[1])


@pytest.fixture
def partitioned(tmp_path: Path) -> Path:
    """Two days of two shops, two rows each, and what Spark leaves beside them."""
    for day in ("2026-01-01", "2026-01-02"):
        for shop in (3, 20):
            directory = tmp_path / "shops" / f"day={day}" / f"shop={shop}"
            directory.mkdir(parents=True)
            pq.write_table(pa.table({"user": [shop, shop + 1]}), directory / "part-0.parquet")
            (directory / ".part-0.parquet.crc").touch()
    (tmp_path / "shops" / "_SUCCESS").touch()
    return tmp_path / "shops"


def test_partition_directories_are_columns(partitioned: Path) -> None:
    with make_batch_reader(partitioned.as_uri(), num_epochs=1) as reader:
        rows = [(str(day), int(shop), int(user)) for batch in reader
                for day, shop, user in zip(batch.day, batch.shop, batch.user, strict=True)]
    assert sorted(rows) == [(day, shop, user) for day in ("2026-01-01", "2026-01-02") for shop in (3, 20)
                            for user in (shop, shop + 1)]


@pytest.mark.parametrize(("filters", "kept"), [
    ([("shop", ">", 3)], [("2026-01-01", 20), ("2026-01-02", 20)]),
    ([("shop", "in", {3}), ("day", "!=", "2026-01-01")], [("2026-01-02", 3)]),
    ([[("shop", "=", 3), ("day", "=", "2026-01-02")], [("day", "<", "2026-01-02")]],
     [("2026-01-01", 20), ("2026-01-01", 3), ("2026-01-02", 3)]),
    ([("user", "=", 3)], [("2026-01-01", 20), ("2026-01-01", 3), ("2026-01-02", 20), ("2026-01-02", 3)]),
])
def test_filters_choose_among_partitions(
    partitioned: Path, filters: list[object], kept: list[tuple[str, int]]
) -> None:
    dataset = legacy_parquet.ParquetDataset(str(partitioned), filters=filters)
    rows = [piece.read(partitions=dataset.partitions).slice(0, 1).to_pylist()[0] for piece in dataset.pieces]
    assert [(row["day"], row["shop"]) for row in rows] == kept


def test_file_systems_of_pyarrow_are_taken(partitioned: Path) -> None:
    dataset = legacy_parquet.ParquetDataset(str(partitioned), filesystem=fs.LocalFileSystem())
    assert [piece.get_metadata().num_rows for piece in dataset.pieces] == [2] * 4


def test_a_piece_is_a_file_or_one_of_its_row_groups(file: Path) -> None:
    dataset = legacy_parquet.ParquetDataset([str(file)])
    assert dataset.partitions is None
    assert dataset.pieces[0].read({"user"}).num_rows == ROWS
    group = legacy_parquet.ParquetDatasetPiece(str(file), dataset.fs.open, row_group=2)
    assert group.read({"user"}).to_pydict() == {"user": list(range(20, 30))}


def test_metadata_files_are_read_and_are_no_pieces(file: Path) -> None:
    schema = pa.schema([("user", pa.int64())], metadata={"written by": "us"})
    pq.write_metadata(schema, file.parent / "_common_metadata")
    dataset = legacy_parquet.ParquetDataset(str(file.parent))
    assert [piece.path for piece in dataset.pieces] == [str(file)]
    assert dataset.common_metadata.metadata[b"written by"] == b"us"
    assert dataset.metadata is None


def test_directories_that_are_no_data_set_say_why(partitioned: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="found none at"):
        legacy_parquet.ParquetDataset(str(tmp_path / "missing"))
    (partitioned / "other").mkdir()
    with pytest.raises(ValueError, match="found other"):
        legacy_parquet.ParquetDataset(str(partitioned))
    (partitioned / "part-0.parquet").touch()
    with pytest.raises(ValueError, match="found both"):
        legacy_parquet.ParquetDataset(str(partitioned))
