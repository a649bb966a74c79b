"""CSV records: quotes hold lines together, and a quote that nothing closes costs its line alone."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from purchasepath.errors import InputError
from purchasepath.sources import records
from purchasepath.sources.cleaning import REASONS, VERDICT
from purchasepath.sources.layout import find_source_layouts
from purchasepath.sources.raw import BROKEN, OPEN_QUOTE, RAW, WRONG_COLUMNS, read_raw
from purchasepath.sources.reading import reading_session
from tests.sources.reading import judged, read, source_of, values, write_files

FIELDS = {"user_id": "u", "event_ts": "t", "event_type": "e", "item_id": "i"}
CSV = source_of(format="csv", fields=FIELDS)
HEADER = "u,t,e,i\n"
ROW = "u,2024-01-01,view,{}\n"


def test_a_quoted_line_break_is_part_of_the_value(spark: SparkSession, tmp_path: Path) -> None:
    invented = '"a\nx,2024-01-01,purchase,stolen\nb"'
    files = {"a.csv.gz": HEADER + ROW.format(invented) + ROW.format("1"), "b.csv": HEADER + ROW.format('5" screen')}
    rows = read(spark, CSV, write_files(tmp_path, files))
    assert values(rows, "event_type", "item_id", REASONS) == sorted(
        [("view", invented.strip('"'), []), ("view", "1", []), ("view", '5" screen', [])], key=repr)


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_header_is_a_record_as_well(spark: SparkSession, tmp_path: Path, ends: str) -> None:
    text = ('u,"what\nit is",t,e,i\n' + 'u,x,2024-01-01,view,1\n').replace("\n", ends)
    rows = read(spark, CSV, write_files(tmp_path, {"a.csv": text}))
    assert values(rows, "user_id", "item_id", REASONS) == [("u", "1", [])]


@pytest.mark.parametrize("sign", ["||", "\\", "\\|", "\\E|", "§", "\x01"])
@pytest.mark.parametrize("quote", ['"', ""])
def test_any_signs_may_stand_between_values(spark: SparkSession, tmp_path: Path, sign: str, quote: str) -> None:
    source = source_of(format="csv", fields=FIELDS, delimiter=sign, quote=quote)
    lines = [["u", "t", "e", "i"], ["u", "2024-01-01", "view", "1"]]
    text = "".join(sign.join(f"{quote}{value}{quote}" for value in line) + "\n" for line in lines)
    rows = read(spark, source, write_files(tmp_path, {"a.csv": text}))
    assert values(rows, "user_id", "item_id", REASONS) == [("u", "1", [])]


def test_a_quote_that_nothing_closes_rejects_its_line_alone(spark: SparkSession, tmp_path: Path) -> None:
    bad = ['"open,2024-01-01,view,1\n', ROW.format('"cut')]
    rows = read(spark, CSV, write_files(tmp_path, {"a.csv": HEADER + bad[0] + ROW.format('"x ""y"""') + bad[1]}))
    assert values(rows, "item_id", REASONS) == sorted([
        ('x "y"', []), ("cut", [OPEN_QUOTE]), (None, [WRONG_COLUMNS, OPEN_QUOTE])], key=repr)


def test_lines_that_are_not_utf8_are_found_in_whole_files_too(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes((HEADER + ROW.format('"a\nb"') + ROW.format("M\xfc")).encode("latin-1"))
    rows = read(spark, CSV, str(tmp_path))
    assert values(rows, "item_id", REASONS) == sorted([("a\nb", []), ("M\ufffd", ["line is not UTF-8"])], key=repr)


def test_a_file_too_large_to_be_read_whole_says_so(spark: SparkSession, tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MOST_WHOLE_BYTES", 10)
    with pytest.raises(InputError, match=r"a\.csv holds line breaks .* read whole, by one task.*Cut it"):
        read(spark, CSV, write_files(tmp_path, {"a.csv": HEADER + ROW.format('"a\nb"')}))


CELLS = st.text(st.sampled_from(list('a ,"\n;\r')), max_size=6)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(CELLS, min_size=4, max_size=4), min_size=1, max_size=8))
def test_records_are_those_that_the_standard_library_reads(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    directory = tmp_path_factory.mktemp("raw")
    (directory / "a.csv").write_bytes((HEADER + '1,2,3,"a\nb"\n' + text.getvalue()).encode())
    reader = reading_session(spark)
    found = read_raw(reader, find_source_layouts(reader, CSV, str(directory)).layouts["events"])
    assert len(values(found, RAW)) == len(rows) + 1
    assert values(found, BROKEN) == [([],)] * (len(rows) + 1)


def test_nul_is_a_sign_like_others_where_there_are_no_quotes(spark: SparkSession, tmp_path: Path) -> None:
    source = source_of(format="csv", quote="", delimiter="\t", header=False, columns=list("utei"), fields=FIELDS)
    rows = read(spark, source, write_files(tmp_path, {"a.tsv": 'u\t2024-01-01\tview\t\0a\nu\t2024-01-01\tview\t"b\n'}))
    assert values(rows, "item_id") == sorted([("\0a",), ('"b',)], key=repr)


def test_comments_are_no_rows(spark: SparkSession, tmp_path: Path) -> None:
    directory = write_files(tmp_path, {"a.csv": '# of the "shop\n' + HEADER + "#\n" + ROW.format("1")})
    with pytest.raises(InputError, match=r'comment: "#"'):
        read(spark, CSV, directory)
    assert values(read(spark, source_of(format="csv", fields=FIELDS, comment="#"), directory), "item_id") == [("1",)]


@pytest.mark.parametrize(("repeats", "expected"), [
    ("duplicates", ["accepted", "duplicate", "duplicate"]), ("events", ["accepted", "accepted", "duplicate"])])
def test_equal_rows_of_one_file_are_one_event_or_as_many_as_they_are(
    spark: SparkSession, tmp_path: Path, repeats: str, expected: list[str]
) -> None:
    files = {"a.csv": HEADER + ROW.format("1") * 2, "same.csv": HEADER + ROW.format("1")}
    source = source_of(format="csv", fields=FIELDS, repeats=repeats)
    assert [verdict for verdict, in values(judged(spark, source, write_files(tmp_path, files)), VERDICT)] == expected
