"""A bit that is flipped inside a page is an error that names the file, in every reader: never other rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from purchasepath.errors import DamagedFileError
from purchasepath.job import guarded
from purchasepath.scoring.udf import item_ids
from purchasepath.sessions.engine.files import open_writer
from purchasepath.sessions.engine.source import FileSource
from purchasepath.storage.parquet import ParquetReader, parquet_writer, read_parquet, write_parquet_file
from purchasepath.storage.warehouse import write_parquet
from purchasepath.tables.catalog import EVENTS, SESSIONS
from tests.damage import flip_bit_in_page
from tests.tiny_bundle import tiny_bundle

ROWS = pa.table({"number": list(range(20_000)), "word": [f"w{n % 50}" for n in range(20_000)],
                 "list": [[n, n + 1] for n in range(20_000)]})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_parquet_file(tmp_path / "rows.parquet", ROWS)
    return tmp_path / "rows.parquet"


READERS: dict[str, Callable[[Path], object]] = {
    "whole": read_parquet,
    "one column": lambda file: read_parquet(file, ["number"]),
    "row group": lambda file: ParquetReader(file).read_row_group(0),
    "row groups": lambda file: ParquetReader(file).read_row_groups([0]),
    "batches": lambda file: list(ParquetReader(file).iter_batches()),
}


@pytest.mark.parametrize("reader", READERS)
def test_every_way_of_reading_verifies_pages_and_names_the_file(file: Path, reader: str) -> None:
    flip_bit_in_page(file)
    with pytest.raises(DamagedFileError, match=r"rows\.parquet: it cannot be read .*CRC"):
        READERS[reader](file)


@pytest.mark.parametrize("column", [0, 1, 2])
@pytest.mark.parametrize("dictionary", [False, True])
def test_dictionaries_and_lists_are_verified_too(file: Path, column: int, dictionary: bool) -> None:
    assert read_parquet(file).equals(ROWS)
    flip_bit_in_page(file, column, dictionary=dictionary)
    with pytest.raises(DamagedFileError, match=r"rows\.parquet"):
        read_parquet(file)


def test_a_file_that_was_cut_off_is_named(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(DamagedFileError, match=r"rows\.parquet"):
        read_parquet(file)


def events_file(spark: SparkSession, directory: Path) -> Path:
    day = datetime(2024, 5, 1, tzinfo=UTC)
    rows = [{"event_id": f"{n:032x}", "user_id": f"u{n % 90}", "event_ts": day, "arrived_at": day,
             "event_date": day.date()} for n in range(5000)]
    write_parquet(EVENTS, EVENTS.frame(spark, rows), directory.as_uri())
    for checksum in directory.rglob(".*.crc"):  # ours alone have to do
        checksum.unlink()
    return next(directory.rglob("*.parquet"))


def test_spark_verifies_what_spark_wrote(spark: SparkSession, tmp_path: Path,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    file = events_file(spark, tmp_path / "events")
    stored = spark.read.schema(EVENTS.spark_schema()).parquet((tmp_path / "events").as_uri())
    assert stored.select("event_id").distinct().count() == 5000
    flip_bit_in_page(file)
    assert guarded(lambda: stored.select("event_id").distinct().count()) == 2
    told = capsys.readouterr().err
    assert file.name in told
    assert "CRC" in told


def test_the_engine_verifies_what_spark_wrote(spark: SparkSession, tmp_path: Path,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    file = events_file(spark, tmp_path / "events")
    flip_bit_in_page(file)
    read = FileSource(spark, EVENTS, [file]).map(lambda batches: iter(batches), ["event_id"], "event_id string")
    assert guarded(read.collect) == 2
    told = capsys.readouterr().err
    assert told.strip().startswith(f"error: {file}: it cannot be read")
    assert "CRC" in told


def test_spark_verifies_what_tasks_wrote(spark: SparkSession, tmp_path: Path,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    rows = SESSIONS.frame(spark, [{"session_id": f"{n:032x}"} for n in range(3000)]).toArrow()
    schema = SESSIONS.file_schema()
    file = tmp_path / "day" / "part.parquet"
    with open_writer(file) as out:
        out.write_table(rows.select(schema.names).cast(schema))
    flip_bit_in_page(file, schema.get_field_index("session_id"))
    assert guarded(lambda: spark.read.parquet(str(file)).select("session_id").distinct().count()) == 2
    assert file.name in capsys.readouterr().err


def test_writers_write_checksums(file: Path) -> None:
    with parquet_writer(file.with_name("other.parquet"), ROWS.schema) as out:
        out.write_table(ROWS)
    plain = file.with_name("plain.parquet")
    pq.write_table(ROWS, plain, compression="zstd")
    assert file.with_name("other.parquet").stat().st_size > plain.stat().st_size  # nothing but checksums is more


def test_scoring_verifies_the_vocabulary(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path)
    write_parquet_file(bundle.vocabulary_path, read_parquet(bundle.vocabulary_path))
    flip_bit_in_page(bundle.vocabulary_path)
    with pytest.raises(DamagedFileError, match=r"vocabulary\.parquet"):
        item_ids(bundle)
