"""Raw files: found, assigned to inputs, looked into."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from purchasepath.errors import InputError
from purchasepath.places import split_paths
from purchasepath.sources.files import RawFile, assign_files, find_files, read_head
from purchasepath.sources.layout import even_sample, find_source_layouts
from purchasepath.sources.mapping import Source, load_source
from tests.sources.reading import read, source_of, values, write_files

FIELDS = {"user_id": "u", "event_ts": "t", "event_type": "e"}


def names(files: list[RawFile]) -> list[str]:
    return [file.below or file.name for file in files]


def test_comma_joins_paths_but_not_inside_braces() -> None:
    assert split_paths("a/*.csv, b/{x,y}.gz,,c") == ["a/*.csv", "b/{x,y}.gz", "c"]
    assert split_paths("a,{b,c{d,e}},{f,g},h{,i") == ["a", "{b,c{d,e}}", "{f,g}", "h{", "i"]


def test_directories_are_read_to_the_bottom_without_hidden_files(spark: SparkSession, tmp_path: Path) -> None:
    write_files(tmp_path, {"a.csv": "", "d/b.csv": "", "d/_SUCCESS": "", "d/.b.csv.crc": "", "_tmp/c.csv": ""})
    assert names(find_files(spark, str(tmp_path))) == ["a.csv", "d/b.csv"]


def test_file_glob_and_repeated_path_give_each_file_once(spark: SparkSession, tmp_path: Path) -> None:
    write_files(tmp_path, {"a1.csv": "", "a2.csv": "", "b.csv": "", "odd [1].csv": ""})
    found = find_files(spark, f"{tmp_path}/a*.csv,{tmp_path}/a1.csv,{tmp_path}/odd [1].csv")
    assert names(found) == ["a1.csv", "a2.csv", "odd [1].csv"]


@pytest.mark.parametrize(("pattern", "found"), [
    ("*", ["a.csv", "b.csv"]), ("*/*.csv", ["b.csv"]), ("_staging/*", ["c.csv"]), ("_s*/c.csv", ["c.csv"]),
    ("{a.csv,_SUCCESS,d}", ["_SUCCESS", "a.csv", "b.csv"]), ("{d,_{staging,x}}/*", ["b.csv", "c.csv"]),
    ("{*,.{x,y}}", ["a.csv", "b.csv"]), ("[_a]*", ["_SUCCESS", "a.csv", "c.csv"]),
])
def test_wildcards_do_not_stand_for_hidden_names(
    spark: SparkSession, tmp_path: Path, pattern: str, found: list[str]
) -> None:
    write_files(tmp_path, {"a.csv": "", "_SUCCESS": "", "_staging/c.csv": "", ".trash/e.csv": "", "d/b.csv": ""})
    assert sorted(file.name for file in find_files(spark, f"{tmp_path}/{pattern}")) == sorted(found)


def test_loops_of_links_end_and_no_file_is_found_twice(spark: SparkSession, tmp_path: Path) -> None:
    write_files(tmp_path, {"raw/a.csv": "", "raw/d/b.csv": "", "other/c.csv": ""})
    for link, target in {"loop": "raw", "again": "raw", "d/up": "raw/d", "far": "other", "a2.csv": "raw/a.csv",
                         "gone": "nowhere"}.items():
        (tmp_path / "raw" / link).symlink_to(tmp_path / target)
    found = find_files(spark, f"{tmp_path}/raw,{tmp_path}/raw/*")
    assert sorted(file.name for file in found) == ["a.csv", "b.csv", "c.csv"]


def test_a_file_may_have_any_name(spark: SparkSession, tmp_path: Path) -> None:
    odd = ["a 10:00.csv", "b:2.csv.gz", " lead.csv", "ü.csv", "\U0001f600.csv", "*.csv", "a?b.csv", "[a].csv",
           "{x}.csv", "a\\b.csv", "a,b.csv", "a'b.csv", 'a"b.csv', "a%20b.csv", "a#b.csv", "a&b.csv", "a+b.csv"]
    directory = write_files(tmp_path, {name: f"u,t,e\n{n:02d},2024-01-01,view\n" for n, name in enumerate(odd)})
    rows = read(spark, source_of(format="csv", fields=FIELDS), directory)
    assert [user for user, in values(rows, "user_id")] == [f"{n:02d}" for n in range(len(odd))]


def test_head_holds_a_first_line_of_any_length(spark: SparkSession, tmp_path: Path) -> None:
    write_files(tmp_path, {"a.csv": "\n" + "x" * 300_000 + "\ny\n", "b.csv.gz": "x" * 300_000})
    assert [[len(line) for line in read_head(spark, file)] for file in find_files(spark, str(tmp_path))] == [
        [300_000, 1], [300_000]]


@pytest.mark.parametrize("paths", ["{0}/no.csv", "{0}/*.tsv", ""])
def test_path_that_does_not_exist(spark: SparkSession, tmp_path: Path, paths: str) -> None:
    with pytest.raises(InputError, match=r"no such file or directory: .*paths.raw"):
        find_files(spark, paths.format(tmp_path))


def test_empty_directory(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found none"):
        find_files(spark, str(tmp_path))


def test_file_given_by_itself_need_not_have_the_usual_name() -> None:
    source = load_source("retailrocket")
    given, strange = RawFile("/x/log.csv", "", 1), RawFile("/d/item_properties.csv", "item_properties.csv", 1)
    assert assign_files(source, [given, strange]) == ({"events": [given]}, [strange])


def test_ignored_files_are_not_even_mentioned() -> None:
    log, truth = (
        RawFile("/r/events/part-0.txt.gz", "events/part-0.txt.gz", 1),
        RawFile("/r/truth/x.json", "truth/x.json", 1),
    )
    assert assign_files(load_source("simulated"), [log, truth]) == ({"events": [log]}, [])


def test_every_input_that_is_not_optional_needs_files() -> None:
    files = [RawFile("/d/purchases.csv", "purchases.csv", 1), RawFile("/d/browsing.csv", "browsing.csv", 1)]
    with pytest.raises(InputError, match=r"expected files named `\*search\*.csv\*` for searches; found purchases.csv"):
        assign_files(load_source("shop_exports"), files)


def test_head_is_unpacked_and_has_no_byte_order_mark_or_blank_lines(spark: SparkSession, tmp_path: Path) -> None:
    write_files(tmp_path, {"a.csv.gz": "\ufeffx,y\r\n\r\n1,2\r\n"})
    assert read_head(spark, find_files(spark, str(tmp_path))[0]) == ["x,y", "1,2"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv.gz", b"u,t,e\nplain text\n", "cannot be read.*packed as its name says"),
        ("a.csv", gzip.compress(b"u,t,e\n"), "packed by gzip but not named so; rename it to a.csv.gz"),
        ("a.csv", b"PK\x03\x04 a.csv", "a.csv is a ZIP archive.*unpack it"),
        ("a.xlsx", b"PK\x03\x04 [Content_Types].xml", "is an Excel workbook; save it as CSV"),
        ("a.csv", "u,t,e\n".encode("utf-16"), "is UTF-16.*iconv"),
        ("a.csv", "u,t,e,xyz\n".encode("utf-16-le"), "looks like UTF-16 .*iconv -f UTF-16LE"),
        ("a.csv", b"<!DOCTYPE html><p>log in", "is a web page"),
        ("a.csv", b"PAR1 \xff PAR1", "format: parquet"),
        ("a.csv.gz", b"", "every file is empty"),
        ("a.csv", b"", "every file is empty"),
        ("a.csv.gz", gzip.compress(b""), "every file is empty"),
    ],
)
def test_file_that_cannot_be_looked_into(
    spark: SparkSession, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        find_source_layouts(spark, source_of(format="csv", fields=FIELDS), str(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"u,t,e\n1,2,3\n", "is not a Parquet file"),
        (b"PAR1 and then nothing", "not a complete Parquet file"),
        (b"PAR1 no footer \x00\x00\x00\x00PAR1", "not readable as Parquet"),
    ],
)
def test_file_that_is_not_parquet(spark: SparkSession, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(InputError, match=message):
        find_source_layouts(spark, source_of(format="parquet", fields=FIELDS), str(tmp_path))


def test_sample_of_many_files_is_even() -> None:
    files = [RawFile(f"/{i}", "", 1) for i in range(10)]
    assert [f.path for f in even_sample(files, 4)] == ["/0", "/2", "/5", "/7"]
    assert even_sample(files, 10) == files


def test_source_is_plain_data() -> None:
    source = load_source("rees46")
    assert Source.model_validate_json(source.model_dump_json()) == source
