"""Exact texts: one id is one id, whatever the type of the column it came in."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from purchasepath.sources.cleaning import REASONS
from purchasepath.sources.mapping import Source
from tests.sources.reading import read, reasons, source_of, values, write_files

FIELDS = {"user_id": "u", "event_ts": "t", "event_type": "e", "item_id": "i"}
TEN = dt.datetime(2024, 1, 1, 10)


def parquet(zone: str = "UTC", form: str = "iso") -> Source:
    return source_of(format="parquet", fields=FIELDS, time={"format": form, "zone": zone})


def write(directory: Path, name: str, items: pa.Array, times: pa.Array | None = None) -> None:
    many = len(items)
    at = pa.array([TEN] * many, pa.timestamp("us", tz="UTC")) if times is None else times
    pq.write_table(pa.table({"u": ["u"] * many, "t": at, "e": ["view"] * many, "i": items}), directory / name)


def test_an_id_has_one_text_in_columns_of_all_types(spark: SparkSession, tmp_path: Path) -> None:
    same = {
        "whole": pa.array([214536502]), "double": pa.array([214536502.0]), "words": pa.array(["214536502"]),
        "decimal": pa.array([Decimal("214536502.00")]), "bytes": pa.array([b"214536502"]),
        "dictionary": pa.array(["214536502"]).dictionary_encode(), "unsigned": pa.array([214536502], pa.uint64()),
        "large": pa.array(["214536502"], pa.large_string()),
    }
    for name, items in same.items():
        write(tmp_path, f"{name}.parquet", items)
    rows = read(spark, parquet(), str(tmp_path))
    assert values(rows, "item_id") == [("214536502",)] * len(same)
    assert len(set(values(rows, "event_id"))) == 1, "equal rows are equal whatever their columns' types"


def test_numbers_keep_every_digit_and_have_no_exponent(spark: SparkSession, tmp_path: Path) -> None:
    given = {13085.0: "13085", -0.0: "0", 1e17: "100000000000000000", 2.0**62: "4611686018427387904", 1.5: "1.5",
             1e22: "10000000000000000000000",
             12345678.25: "12345678.25", 1e-5: "0.00001", 0.1: "0.1"}
    write(tmp_path, "a.parquet", pa.array([*given, float("nan"), None]))
    write(tmp_path, "b.parquet", pa.array([0.1, 16777216.0], pa.float32()))
    expected = [*given.values(), "0.1", "16777216"]
    rows = read(spark, parquet(), str(tmp_path))
    assert sorted(item for item, in values(rows, "item_id") if item) == sorted(expected)
    assert rows.where("item_id is null").count() == 2, "NaN is no number, and the id of nobody"


def test_binaries_that_are_no_text_cannot_be_taken_for_one(spark: SparkSession, tmp_path: Path) -> None:
    given = {b"ab": "ab", b"\xab": r"\xab", rb"\xab": r"\x5c786162", b"\x00\x05": r"\x0005", "ü".encode(): "ü"}
    write(tmp_path, "a.parquet", pa.array(given, pa.binary()))
    assert sorted(item for item, in values(read(spark, parquet(), str(tmp_path)), "item_id")) == sorted(given.values())


def test_a_shop_may_name_its_columns_as_it_likes(spark: SparkSession, tmp_path: Path) -> None:
    at = pa.array([TEN], pa.timestamp("us", tz="UTC"))
    pq.write_table(pa.table({"u`x": ["u"], "t": at, "e": ["view"], "_metadata": ["x"]}), tmp_path / "a.parquet")
    fields = {"user_id": "u`x", "event_ts": "t", "event_type": "e", "item_id": "_metadata"}
    assert values(read(spark, source_of(format="parquet", fields=fields), str(tmp_path)), "user_id", "item_id") == [
        ("u", "x")]


@pytest.mark.parametrize("key", ["u`x", "u'\"x", "u.x", "u]x", "ü"])
def test_so_may_it_name_its_keys(spark: SparkSession, tmp_path: Path, key: str) -> None:
    source = source_of(format="json", fields={"user_id": key, "event_ts": "t", "event_type": "e"})
    line = json.dumps({key: "u1", "t": "2024-01-01", "e": "view"}) + "\n"
    assert values(read(spark, source, write_files(tmp_path, {"a.jsonl": line})), "user_id") == [("u1",)]


def test_nan_in_json_is_the_id_of_nobody(spark: SparkSession, tmp_path: Path) -> None:
    text = "".join(f'{{"u": {u}, "t": "2024-01-01", "e": "view"}}\n' for u in ("NaN", '"NaN"'))
    rows = read(spark, source_of(format="json", fields={k: v for k, v in FIELDS.items() if k != "item_id"}),
                write_files(tmp_path, {"a.jsonl": text}))
    assert sorted(reasons(rows)) == [[], ["user_id is missing"]]


def test_a_double_of_seventeen_digits_is_read_back_from_its_text(spark: SparkSession, tmp_path: Path) -> None:
    given = [1026454.4271112504, 0.1 + 0.2, 2 / 3, 123456.78900000001, 9007199254740.993]
    write(tmp_path, "a.parquet", pa.array(given))
    texts = [item for item, in values(read(spark, parquet(), str(tmp_path)), "item_id")]
    assert sorted(float(text) for text in texts) == sorted(given)
    assert all(len(text.replace(".", "").lstrip("0")) <= 17 and "E" not in text for text in texts)


@pytest.mark.parametrize(("zone", "hour"), [("UTC", 10), ("Europe/Berlin", 9)])
def test_nanoseconds_are_read_and_tell_rows_apart(spark: SparkSession, tmp_path: Path, zone: str, hour: int) -> None:
    base = int(TEN.replace(tzinfo=dt.UTC).timestamp()) * 10**9
    times = pa.array([base + 100, base + 200, base + 100_000], pa.timestamp("ns"))
    write(tmp_path, "a.parquet", pa.array(["1"] * 3), times)
    rows = read(spark, parquet(zone), str(tmp_path))
    since = "unix_micros(event_ts) - unix_micros(timestamp'2024-01-01 00:00:00Z') us"
    found = values(rows.selectExpr(since), "us")
    assert found == sorted([(hour * 3_600_000_000,)] * 2 + [(hour * 3_600_000_000 + 100,)])
    assert rows.select("event_id").distinct().count() == 3


@pytest.mark.parametrize("form", ["iso", "yyyyMMdd", "epoch_s"])
def test_an_instant_is_not_moved_by_the_zone_nor_read_by_the_pattern(spark: SparkSession, tmp_path: Path,
                                                                    form: str) -> None:
    write(tmp_path, "a.parquet", pa.array(["1"]))
    rows = read(spark, parquet("Europe/Berlin", form), str(tmp_path))
    assert values(rows.selectExpr("string(event_ts) at"), "at") == [("2024-01-01 10:00:00",)]


def test_times_of_96_bits_are_read_and_those_of_other_ages_rejected(spark: SparkSession, tmp_path: Path) -> None:
    times = [TEN + dt.timedelta(microseconds=1), dt.datetime(1, 1, 1), dt.datetime(2200, 1, 1)]
    table = pa.table({"u": ["u"] * 3, "t": pa.array(times, pa.timestamp("us")), "e": ["view"] * 3,
                      "p": pa.array([Decimal("12.50")] * 3)})
    pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    fields = {"user_id": "u", "event_ts": "t", "event_type": "e", "price": "p"}
    rows = read(spark, source_of(format="parquet", fields=fields), str(tmp_path))
    assert [found for *found, broken in values(rows.selectExpr("string(event_ts)", "price", REASONS), "*") if not broken
            ] == [["2024-01-01 10:00:00.000001", 12.5]]
    assert reasons(rows) == [[], *[["event_ts is out of range"]] * 2]


def test_rows_a_microsecond_apart_are_two_events(spark: SparkSession, tmp_path: Path) -> None:
    times = pa.array([TEN, TEN + dt.timedelta(microseconds=1)], pa.timestamp("us"))
    write(tmp_path, "a.parquet", pa.array(["1", "1"]), times)
    assert read(spark, parquet(), str(tmp_path)).select("event_id").distinct().count() == 2


def test_columns_that_differ_in_case_and_one_missing_in_a_file(spark: SparkSession, tmp_path: Path) -> None:
    table = {"u": ["u"], "U": ["L"], "t": ["2024-01-01"], "e": ["view"], "i": [7]}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    pq.write_table(pa.table({name: table[name] for name in "uUte"}), tmp_path / "b.parquet")
    source = source_of(format="parquet", fields=FIELDS | {"login_id": "U"})
    assert values(read(spark, source, str(tmp_path)), "user_id", "login_id", "item_id") == [
        ("u", "L", "7"), ("u", "L", None)]


@pytest.mark.parametrize(("form", "text"), [
    ("csv", "u,U,t,e\nvisitor,account,2024-01-01,view\n"),
    ("json", '{"u": "visitor", "U": "account", "t": "2024-01-01", "e": "view"}\n'),
])
def test_names_that_differ_in_case_are_two_in_texts_as_well(
    spark: SparkSession, tmp_path: Path, form: str, text: str
) -> None:
    fields = {"user_id": "u", "login_id": "U", "event_ts": "t", "event_type": "e"}
    rows = read(spark, source_of(format=form, fields=fields), write_files(tmp_path, {"a.txt": text}))
    assert values(rows, "user_id", "login_id") == [("visitor", "account")]


def test_json_numbers_have_the_same_text(spark: SparkSession, tmp_path: Path) -> None:
    numbers = ["13085.0", "1.3085E4", "13085", '"13085"', "0.10", '"13085.0"', '"1E5"',
               "12345678901234567890.1234567890"]
    text = "".join(f'{{"u": {n}, "U": "x", "t": "2024-01-01", "e": "view"}}\n' for n in numbers)
    source = source_of(format="json", fields=FIELDS | {"login_id": "U"})
    assert values(read(spark, source, write_files(tmp_path, {"a.jsonl": text})), "user_id") == sorted(
        [("13085",)] * 4 + [("0.1",), ("13085.0",), ("1E5",), ("12345678901234567890.123456789",)], key=repr)


def test_the_first_json_line_may_be_long_and_a_file_may_lack_a_key(spark: SparkSession, tmp_path: Path) -> None:
    row = '{"u": "u", "t": "2024-01-01", "e": "view", "i": "1", "x": "%s"}\n'
    files = {"a.jsonl": row % ("x" * 70_000), "b.jsonl": row.replace('"u": "u", ', "") % "", "c.jsonl": "broken\n"}
    rows = read(spark, source_of(format="json", fields=FIELDS), write_files(tmp_path, files))
    assert values(rows, REASONS) == [(["line is not one JSON object"],), (["user_id is missing"],), ([],)]


def test_a_key_that_only_a_late_line_has_is_read(spark: SparkSession, tmp_path: Path) -> None:
    row = '{"u": "u%d", "t": "2024-01-01", "e": "view"}\n'
    text = "".join(row % n for n in range(300)) + (row % 300).replace("}", ', "o": "o1"}')
    source = source_of(format="json", fields=FIELDS | {"order_id": "o"})
    rows = read(spark, source, write_files(tmp_path, {"a.jsonl": text}))
    assert values(rows.where("order_id is not null"), "user_id", "order_id") == [("u300", "o1")]
    assert rows.count() == 301


def test_a_json_array_is_read_by_its_elements(spark: SparkSession, tmp_path: Path) -> None:
    text = '[{"u": "a", "t": "2024-01-01",\n "e": "view"}, {"u": "b", "t": "2024-01-01", "e": "view"}, 5]'
    files = {"a.json": text, "b.json": text.replace('"a"', '"c"').replace('"b"', '"d"'), "c.json": '[{"u": "e"'}
    rows = read(spark, source_of(format="json", fields=FIELDS), write_files(tmp_path, files))
    assert values(rows.where("user_id is not null"), "user_id") == [("a",), ("b",), ("c",), ("d",)]
    assert rows.count() == 7
