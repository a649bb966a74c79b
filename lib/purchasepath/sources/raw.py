"""Raw rows: one row per record (or Parquet row) of the input, with its text, its file and its columns as strings.

Records are read as text and parsed by Spark's `from_csv` and `from_json`, so that one that cannot be parsed is kept
as it stood. A record is a line, which ends with \\n, \\r\\n or \\r; in a csv file with line breaks inside quotes it is
what the quotes hold together (`records`), in a JSON array an element. Blank lines, comments and (in csv files with
a header) repetitions of the header are no rows.

Where a record stands in its file is (SPLIT, NUMBER): the byte at which the part of the file begins that one task read,
and a number that rises in there. Two readings of a file number its records differently, but in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce

import pyarrow as pa
import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame, SparkSession

from purchasepath.sources.exact import json_number, may_be_rounded
from purchasepath.sources.files import HEAD_BYTES, LOCAL, read_head
from purchasepath.sources.layout import Layout
from purchasepath.sources.mapping import OWN_PREFIX, Input
from purchasepath.sources.parquet import file_facts, read_parquet, row_text
from purchasepath.sources.records import is_unclosed, literal_pattern, split_records
from purchasepath.tables.catalog import EVENTS
from purchasepath.tables.quality import Rule, broken_rules

RAW, FILE, BROKEN = f"{OWN_PREFIX}raw", f"{OWN_PREFIX}file", f"{OWN_PREFIX}broken"
SPLIT, NUMBER, BACKWARDS = f"{OWN_PREFIX}split", f"{OWN_PREFIX}number", f"{OWN_PREFIX}backwards"
IN_FILE = (SPLIT, NUMBER)
_VALUE, _PARSED, _CORRUPT = f"{OWN_PREFIX}value", f"{OWN_PREFIX}parsed", f"{OWN_PREFIX}corrupt"
_VALID, _VARIANT = f"{OWN_PREFIX}valid", f"{OWN_PREFIX}variant"
_IN_TASK = 2**33 - 1  # the bits of `monotonically_increasing_id` that count within a task
_SHOWN = 10_000  # characters of an array that is none

NOT_UTF8 = "line is not UTF-8"
NOT_AN_OBJECT = "line is not one JSON object"
WRONG_COLUMNS = "line has the wrong number of columns"
OPEN_QUOTE = "line opens a quote that nothing closes"


def read_raw(spark: SparkSession, layouts: Sequence[Layout]) -> DataFrame:
    """RAW, FILE, SPLIT, NUMBER, BACKWARDS (whether the file's times run backwards), BROKEN (reasons why the line cannot
    be parsed) and the source columns of all layouts of one input."""
    return reduce(DataFrame.unionByName, [_read_layout(spark, layout) for layout in layouts])


def read_beginnings(spark: SparkSession, layout: Layout, most: int) -> DataFrame:
    """The same of each file's first `most` records or fewer, FILE as in `layout.files`. Of files of lines nothing else
    is read."""
    if layout.parquet or layout.whole:
        rows = _read_parquet(spark, layout) if layout.parquet else parse_rows(
            _read_records(spark, layout, beginning=True), layout)
        return rows.where(F.col(NUMBER) < most).withColumn(FILE, as_listed(F.col(FILE)))
    with ThreadPoolExecutor(8) as pool:  # a look at a distant file is mostly waiting
        heads = list(pool.map(lambda file: read_head(spark, file, most), layout.files))
    lines = [line for head in heads for line in head]
    files = [file.path for file, head in zip(layout.files, heads, strict=True) for _ in head]
    numbers = [number for head in heads for number in range(len(head))]
    rows = spark.createDataFrame(pa.table({
        _VALUE: pa.array(lines, pa.string()), FILE: pa.array(files, pa.string()),
        SPLIT: pa.array([0] * len(lines), pa.int64()), NUMBER: pa.array(numbers, pa.int64())}))
    return parse_rows(rows.withColumn(_VALID, F.lit(True)), layout)


def file_path(uri: Column) -> Column:
    """The path of a file as Spark names it, with the signs that a URI encodes."""
    plus = F.replace(uri, F.lit("+"), F.lit("%2B"))  # a plus is a plus in paths, and a blank only in queries
    return F.try_url_decode(plus)


def as_listed(uri: Column) -> Column:
    """The path of a file, as in `RawFile.path`."""
    return F.regexp_replace(file_path(uri), f"^{LOCAL}///", f"{LOCAL}/")


def _read_layout(spark: SparkSession, layout: Layout) -> DataFrame:
    if layout.parquet:
        return _read_parquet(spark, layout)
    return parse_rows(_read_records(spark, layout) if layout.whole else _read_lines(spark, layout), layout)


def parse_rows(rows: DataFrame, layout: Layout) -> DataFrame:
    """Records (_VALUE, FILE, SPLIT, NUMBER, _VALID) that are rows, parsed into the columns that the mapping reads."""
    rows = rows.where(F.trim(_VALUE) != "")
    if layout.input.comment:
        rows = rows.where(~F.col(_VALUE).startswith(layout.input.comment))
    if layout.header:
        record = F.regexp_replace(_VALUE, "\r\n?", "\n") if "\n" in layout.header else F.col(_VALUE)
        rows = rows.where(record != layout.header)
    return parse_records(rows, layout)


def _read_lines(spark: SparkSession, layout: Layout) -> DataFrame:
    """_VALUE, FILE, SPLIT, NUMBER and _VALID (whether the line is UTF-8)."""
    lines = spark.read.options(**layout.options).text(layout.paths)
    # numbered right above the scan: a task reads each of its splits in the file's order
    return lines.select(F.col("value"), F.col("_metadata.file_path").alias(FILE),
                        F.col("_metadata.file_block_start").alias(SPLIT),
                        F.monotonically_increasing_id().bitwiseAND(_IN_TASK).alias(NUMBER)).select(
        _without_mark(F.col("value")).alias(_VALUE), FILE, *IN_FILE, F.is_valid_utf8("value").alias(_VALID))


def _read_records(spark: SparkSession, layout: Layout, *, beginning: bool = False) -> DataFrame:
    """The same of files whose records are not their lines. Each is one value, on one task. `beginning`: of csv files
    what stands in their first bytes, the last record cut off."""
    texts = spark.read.options(**layout.options).text(layout.paths, wholetext=True)
    text = _without_mark(F.col("value"))
    if beginning and layout.input.format == "csv":
        text = F.substring(text, 1, HEAD_BYTES)
    if layout.input.format == "json":
        broken = F.array(F.substring(text, 1, _SHOWN))
        records = F.coalesce(F.from_json(text, "array<string>"), broken)
    else:
        records = split_records(text, layout.input)
    rows = texts.select(F.posexplode(records).alias(NUMBER, _VALUE), F.col("_metadata.file_path").alias(FILE),
                        F.is_valid_utf8("value").alias(_VALID))
    # cutting replaces what is no UTF-8
    return rows.select(_VALUE, FILE, F.lit(0).cast("bigint").alias(SPLIT), F.col(NUMBER).cast("bigint").alias(NUMBER),
                       (F.col(_VALID) | ~F.col(_VALUE).contains("\ufffd")).alias(_VALID))


def _without_mark(text: Column) -> Column:
    return F.ltrim(text, F.lit("\ufeff"))  # a byte order mark is no part of the first value


def parse_records(rows: DataFrame, layout: Layout) -> DataFrame:
    """Records (_VALUE, FILE, _VALID) parsed into the columns that the mapping reads."""
    spec = layout.input
    parse = _parsed_json if spec.format == "json" else _parsed_csv if spec.quote else _split_csv
    parsed, malformed, values = parse(rows, spec, layout.columns)
    rules = [Rule(NOT_UTF8, ~F.col(_VALID)), malformed]
    if layout.whole and spec.format == "csv":
        rules.append(Rule(OPEN_QUOTE, is_unclosed(F.col(_VALUE), spec)))
    return parsed.select(
        F.make_valid_utf8(F.col(_VALUE)).alias(RAW), FILE, *IN_FILE, F.lit(layout.backwards).alias(BACKWARDS),
        broken_rules(rules).alias(BROKEN),
        *[_text(values[name]).alias(name) for name in spec.source_columns],
    )


Parsed = tuple[DataFrame, Rule, dict[str, Column]]
"""Rows with what was parsed, which of them could not be, and the text of every column of the source."""


def _split_csv(rows: DataFrame, spec: Input, columns: Sequence[str]) -> Parsed:
    """Array of strings: without quotes a delimiter is a delimiter. (Spark's parser always has a quote, if only NUL.)"""
    parsed = F.split(F.col(_VALUE), literal_pattern(spec.delimiter), -1)
    values = {name: F.get(F.col(_PARSED), F.lit(i)) for i, name in reversed(list(enumerate(columns)))}
    return rows.withColumn(_PARSED, parsed), Rule(WRONG_COLUMNS, F.size(_PARSED) != len(columns)), values


def _parsed_csv(rows: DataFrame, spec: Input, columns: Sequence[str]) -> Parsed:
    """Struct of strings named by position: a header may hold any names, or one twice."""
    values = {name: F.col(f"{_PARSED}.{OWN_PREFIX}{i}") for i, name in reversed(list(enumerate(columns)))}
    schema = ", ".join([f"{OWN_PREFIX}{i} string" for i in range(len(columns))] + [f"{_CORRUPT} string"])
    parsed = F.from_csv(F.col(_VALUE), schema, {
        "mode": "PERMISSIVE", "columnNameOfCorruptRecord": _CORRUPT, "quote": spec.quote,
        "sep": spec.delimiter.replace("\\", r"\\"),  # Spark reads it as a word with escapes
        "escape": spec.quote,  # a quote inside a quoted value is written twice
        "ignoreLeadingWhiteSpace": "true", "ignoreTrailingWhiteSpace": "true",
    })
    return rows.withColumn(_PARSED, parsed), Rule(WRONG_COLUMNS, F.col(f"{_PARSED}.{_CORRUPT}").isNotNull()), values


def _parsed_json(rows: DataFrame, spec: Input, columns: Sequence[str]) -> Parsed:
    """Lines with numbers that the parser may have rounded are parsed again, as variants."""
    names = {name: "`" + name.replace("`", "``") + "`" for name in columns}
    schema = ", ".join([f"{name} string" for name in names.values()] + [f"{_CORRUPT} string"])
    parsed = F.from_json(F.col(_VALUE), schema, {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": _CORRUPT})
    # the parser is content with the first value of a line; arrays and objects run together would lose events
    line = F.trim(_VALUE)
    framed = line.startswith("{") & line.endswith("}")
    nested = F.locate("}", line) < F.length(line)
    one_object = framed & ~(nested & line.rlike(r'\}\s*\{\s*"[^"]*"\s*:'))
    broken = F.col(_PARSED).isNull() | F.col(f"{_PARSED}.{_CORRUPT}").isNotNull() | ~one_object
    # Python writes NaN where there is nothing; the parser's text for it has quotes, that of a word NaN has none
    values = {name: F.nullif(F.col(f"{_PARSED}.{quoted}"), F.lit('"NaN"')) for name, quoted in names.items()}
    suspects = {name: may_be_rounded(values[name]) for name in sorted(_columns_of_words(spec))}
    rounded = reduce(Column.__or__, suspects.values())
    exact = {name: F.when(suspect, F.coalesce(json_number(F.col(_VARIANT), name), values[name])).otherwise(values[name])
             for name, suspect in suspects.items()}
    rows = rows.withColumn(_PARSED, parsed).withColumn(_VARIANT, F.when(rounded, F.try_parse_json(_VALUE)))
    return rows, Rule(NOT_AN_OBJECT, broken), values | exact


def _columns_of_words(spec: Input) -> set[str]:
    """Source columns whose text is kept, or read by an expression; the others become numbers and times."""
    return {name for field, origin in spec.fields.items() if origin.sql or EVENTS.column(field).type == "string"
            for name in origin.columns if not {'"', "'"} <= set(name)}  # no path of a variant can name such a key


def _read_parquet(spark: SparkSession, layout: Layout) -> DataFrame:
    assert layout.parquet
    rows = read_parquet(spark, layout.files, layout.parquet)
    facts = file_facts(rows)
    return rows.select(
        row_text(layout.parquet).alias(RAW), facts.getField("file_path").alias(FILE),
        F.lit(0).cast("bigint").alias(SPLIT), facts.getField("row_index").alias(NUMBER),
        F.lit(layout.backwards).alias(BACKWARDS), broken_rules([]).alias(BROKEN),
        *[_text(layout.parquet.text(name)).alias(name) for name in layout.input.source_columns],
    )


def _text(value: Column) -> Column:
    """Without surrounding blanks; null where nothing is left."""
    return F.nullif(F.trim(value), F.lit(""))
