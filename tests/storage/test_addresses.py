"""Files are opened by their addresses, letter by letter, on this machine and on an object store."""

from __future__ import annotations

from pathlib import Path

import boto3
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from purchasepath.config import load_config
from purchasepath.errors import DamagedFileError, FileSystemError, UserError
from purchasepath.job import guarded
from purchasepath.storage.addresses import address_of, address_of_uri, copy_file, is_local, open_address
from purchasepath.storage.copies import copy_files
from purchasepath.storage.data_files import files_of
from purchasepath.storage.mounts import Need, needs_of, require_reach
from purchasepath.storage.parquet import read_footer, read_footers, read_parquet, write_parquet_file
from tests.damage import flip_bit_in_page

ROWS = pa.table({"number": list(range(20_000))})
NAMES = ["a b", "100%20", "a#b", "ü+&", "a:b", "x?y", "s3a:"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_taken_letter_by_letter(tmp_path: Path, object_store: str, name: str) -> None:
    for place in (str(tmp_path), f"{object_store}/shop"):
        address = f"{place}/{name}/d=1/{name}.parquet"
        write_parquet_file(address, ROWS)
        assert read_parquet(address).equals(ROWS)
        assert [footer.num_rows for footer in read_footers([address])] == [20_000]
    assert (tmp_path / name / "d=1" / f"{name}.parquet").is_file()
    assert keys_of(object_store) == [f"shop/{name}/d=1/{name}.parquet"]


def keys_of(bucket: str) -> list[str]:
    found = boto3.client("s3").list_objects_v2(Bucket=bucket.removeprefix("s3a://"))
    return [one["Key"] for one in found.get("Contents", [])]


@pytest.mark.parametrize("name", NAMES)
def test_files_that_a_frame_reads_are_told_by_their_addresses(spark: SparkSession, tmp_path: Path, name: str) -> None:
    place = f"file:{tmp_path}/{name}"
    spark.range(3).write.parquet(place)
    read = spark.read.schema("id bigint").option("__globPaths__", "false").parquet(place)
    assert sum(read_footer(file).num_rows for file in files_of(read)) == 3
    assert all(file.startswith(f"{tmp_path}/{name}/") for file in files_of(read))


def test_addresses_of_other_file_systems_are_what_hadoop_shows() -> None:
    assert address_of("file:/a b/100%20") == "/a b/100%20"
    assert address_of("hdfs://nn:8020/a b/100%20") == "hdfs://nn:8020/a b/100%20"
    assert address_of_uri("s3a://shop/%C3%BC%20a%23/x%2520") == "s3a://shop/ü a#/x%20"
    assert address_of_uri("file:///%C3%BC%20a%23/x%2520") == "/ü a#/x%20"
    assert [is_local(path) for path in ("/s3a://x", "name", Path("x"), "s3a://x/y")] == [True, True, True, False]


def test_copies_are_the_files_themselves(spark: SparkSession, tmp_path: Path, object_store: str) -> None:
    for place in (str(tmp_path), object_store):
        write_parquet_file(f"{place}/old run/a.parquet", ROWS)
        copy_file(f"{place}/old run/a.parquet", f"{place}/new run/d=1/a.parquet")
        copy_files(spark, [(f"{place}/old run/a.parquet", f"{place}/new run/d={n}/b.parquet") for n in range(3)])
        for name in ("d=1/a", "d=0/b", "d=1/b", "d=2/b"):
            assert read_parquet(f"{place}/new run/{name}.parquet").equals(ROWS)
        copy_files(spark, [])


def test_what_is_damaged_is_told_with_its_address(tmp_path: Path, object_store: str) -> None:
    write_parquet_file(tmp_path / "rows.parquet", ROWS)
    flip_bit_in_page(tmp_path / "rows.parquet")
    store, there = open_address(f"{object_store}/a b/rows.parquet")
    assert store is not None
    with store.open_output_stream(there) as out:
        out.write((tmp_path / "rows.parquet").read_bytes())
    with pytest.raises(DamagedFileError, match=rf"^{object_store}/a b/rows\.parquet: it cannot be read .*CRC"):
        read_parquet(f"{object_store}/a b/rows.parquet")
    with pytest.raises(DamagedFileError, match=rf"^{object_store}/gone\.parquet: it cannot be read"):
        read_footer(f"{object_store}/gone.parquet")


def test_a_file_system_that_python_does_not_open_is_told_before_any_work(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("purchasepath.storage.mounts._qualified", lambda _, path: path)  # Hadoop's connector is missing
    need = Need("paths.warehouse", "o3fs://bucket.volume/wh", writes=True, by_python=True)
    assert guarded(lambda: require_reach(spark, [need])) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("error: o3fs://bucket.volume: tasks open these files themselves, by pyarrow.fs, and cannot")
    assert "give a path that every node mounts, or one on hdfs, viewfs, s3a, gs or abfss" in told


def test_so_is_one_that_spark_does_not_open(spark: SparkSession) -> None:
    need = Need("paths.warehouse", "o3fs://bucket.volume/wh", writes=True, by_python=True)
    told = r"^paths\.warehouse \(o3fs://bucket\.volume/wh\): Spark does not open .*No FileSystem for scheme"
    with pytest.raises(UserError, match=told):
        require_reach(spark, [need])


def test_sessionize_with_a_hive_catalog_asks_for_it() -> None:
    assert [need.by_python for need in needs_of("sessionize", load_config([], ["warehouse.catalog=hive"]))] == [True]
    assert not any(need.by_python for need in needs_of("ingest", load_config([], ["warehouse.catalog=hive"])))


def test_a_task_that_cannot_open_a_file_system_says_so_in_one_line(
    spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = [("hdfs://nowhere.invalid:1/a", "hdfs://nowhere.invalid:1/b")]
    assert guarded(lambda: copy_files(spark, pairs)) == 2
    [told] = capsys.readouterr().err.strip().splitlines()
    assert told.startswith("error: hdfs://nowhere.invalid:1: tasks open these files themselves")
    assert "CLASSPATH=$(hadoop classpath --glob)" in told
    with pytest.raises(FileSystemError, match="HADOOP_HOME"):
        open_address(pairs[0][0])
