"""Lines become rows: nothing is lost, what cannot be parsed is kept as it stood."""

from __future__ import annotations

import gzip
from pathlib import Path

from pyspark.sql import SparkSession

from purchasepath.sources.layout import find_source_layouts
from purchasepath.sources.raw import BROKEN, FILE, NOT_AN_OBJECT, NOT_UTF8, OPEN_QUOTE, RAW, WRONG_COLUMNS, read_raw
from purchasepath.sources.reading import reading_session
from tests.sources.reading import source_of, values, write_files

FIELDS = {"user_id": "u", "event_ts": "t", "event_type": "e"}
CSV = source_of(format="csv", fields=FIELDS)
JSON = source_of(format="json", fields=FIELDS)


def rows(spark: SparkSession, source: object, directory: str, *columns: str) -> list[tuple[object, ...]]:
    reader = reading_session(spark)
    layouts = find_source_layouts(reader, source, directory).layouts["events"]  # type: ignore[arg-type]
    return values(read_raw(reader, layouts), *columns)


def test_csv_lines_with_quotes_blanks_and_faults(spark: SparkSession, tmp_path: Path) -> None:
    text = 'u,t,e\n1,2,view\n " a, b " , 2 ,\n\n1,2\n1,2,3,4\n"open,1,2\n"say ""x""",2,3\n   \nu,t,e\n'
    found = rows(spark, CSV, write_files(tmp_path, {"a.csv.gz": text}), RAW, BROKEN, "u", "t", "e")
    assert [row for row in found if not row[1]] == [
        (' " a, b " , 2 ,', [], "a, b", "2", None),
        ('"say ""x""",2,3', [], 'say "x"', "2", "3"),
        ("1,2,view", [], "1", "2", "view"),
    ]
    assert {row[0]: row[1] for row in found if row[1]} == {
        "1,2": [WRONG_COLUMNS], "1,2,3,4": [WRONG_COLUMNS], '"open,1,2': [WRONG_COLUMNS, OPEN_QUOTE],
    }


def test_packed_members_line_ends_marks_and_headers_are_no_rows(spark: SparkSession, tmp_path: Path) -> None:
    header, row = "u,t,e\n", "{},2,view\n"
    packed = [gzip.compress((header + row.format("first")).encode()), gzip.compress(row.format("second").encode())]
    (tmp_path / "members.csv.gz").write_bytes(b"".join(packed))
    (tmp_path / "nothing.csv.gz").write_bytes(gzip.compress(b""))
    for name in ("one", "two"):
        text = "\ufeff" + header + row.format(name)
        (tmp_path / f"{name}.csv").write_bytes(text.replace("\n", "\r\n").encode())
    write_files(tmp_path, {"header.csv": header, "again.csv": header + row.format("a") + header + row.format("b"),
                           "blanks.csv": "u , t, e\n" + row.format("blanks")})
    users = ("first", "second", "one", "two", "a", "b", "blanks")
    assert rows(spark, CSV, str(tmp_path), "u", "t", "e", BROKEN) == sorted(
        [(user, "2", "view", []) for user in users], key=repr)


def test_files_whose_columns_stand_in_another_order(spark: SparkSession, tmp_path: Path) -> None:
    files = {"a.csv": "u,t,e\n1,2,3\n", "b.csv": "\ufeffe,x,u,t\n9,0,1,2\n", "empty.csv": ""}
    assert rows(spark, CSV, write_files(tmp_path, files), "u", "t", "e", BROKEN) == [
        ("1", "2", "3", []),
        ("1", "2", "9", []),
    ]


def test_tsv_without_header_and_quotes(spark: SparkSession, tmp_path: Path) -> None:
    source = source_of(format="csv", delimiter="\t", quote="", header=False, columns=["u", "t", "e"], fields=FIELDS)
    directory = write_files(tmp_path, {"a.tsv": 'u1\t2\t"x\nu2\t3\n\ufeffu3\t\t\\\n'})
    assert rows(spark, source, directory, "u", "t", "e", BROKEN) == [
        ("u1", "2", '"x', []),
        ("u2", "3", None, [WRONG_COLUMNS]),
        ("u3", None, "\\", []),
    ]


def test_lines_that_are_not_one_json_object(spark: SparkSession, tmp_path: Path) -> None:
    good = ['{"u": 0, "t": 1, "e": 2}', '{"u": {"a": {"b": [{}, {}]}}}', '{"e": "}{"}']
    bad = [
        "nonsense",
        '{"u": 1, "t"',
        "5",
        "[]",
        "null",
        '[{"u": 1}, {"u": 2}]',
        '{"u": 1}{"u": 2}',
        '{"u": 1} {"u": 2}',
        '{"u": 1}x',
    ]
    lines = rows(spark, JSON, write_files(tmp_path, {"a.jsonl": "\n".join(good + bad)}), RAW, BROKEN)
    assert {line[0]: line[1] for line in lines} == {
        **{line: [] for line in good},
        **{line: [NOT_AN_OBJECT] for line in bad},
    }


def test_json_values_become_their_text(spark: SparkSession, tmp_path: Path) -> None:
    text = '{"u": 12, "t": 1.5, "e": true, "more": [1]}\n {"u": null, "e": " }{ ", "t": {"a": 1}} \n'
    assert rows(spark, JSON, write_files(tmp_path, {"a.jsonl": text}), "u", "t", "e", BROKEN) == [
        ("12", "1.5", "true", []),
        (None, '{"a":1}', "}{", []),
    ]


def test_line_that_is_not_utf8_is_kept_readable(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"u,t,e\nM\xfcller,1,view\n")
    assert rows(spark, CSV, str(tmp_path), RAW, BROKEN) == [("M\ufffdller,1,view", [NOT_UTF8])]


def test_parquet_rows_carry_their_file_and_their_content_as_json(spark: SparkSession, tmp_path: Path) -> None:
    frame = spark.createDataFrame([(1, "2024-01-01", "view", 0.5)], "u long, t string, e string, `odd.name` double")
    frame.coalesce(1).write.parquet(str(tmp_path / "p"))
    source = source_of(format="parquet", fields=FIELDS | {"price": "odd.name"})
    ((raw, file, user, price),) = rows(spark, source, str(tmp_path), RAW, FILE, "u", "`odd.name`")
    assert raw == '{"e":"view","odd.name":"0.5","t":"2024-01-01","u":"1"}'
    assert str(file).endswith(".parquet")
    assert (user, price) == ("1", "0.5")
