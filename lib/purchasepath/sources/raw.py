"""Raw rows: one row per line (or Parquet row) of the input, with its text, its file and its columns as strings.

Lines are read as text and parsed by Spark's `from_csv` and `from_json`, so that a line that cannot be parsed is
kept as it stood. What a line is: it ends with \\n, \\r\\n or \\r. Blank lines and (in csv files with a header)
repetitions of the header are no rows. Quoted csv values that hold line breaks are not supported: their lines
are rejected with the wrong number of columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame, SparkSession

from purchasepath.sources.layout import Layout
from purchasepath.sources.mapping import OWN_PREFIX, Input
from purchasepath.tables.quality import Rule, broken_rules

RAW, FILE, BROKEN = f"{OWN_PREFIX}raw", f"{OWN_PREFIX}file", f"{OWN_PREFIX}broken"
_VALUE, _PARSED, _CORRUPT = f"{OWN_PREFIX}value", f"{OWN_PREFIX}parsed", f"{OWN_PREFIX}corrupt"

NOT_UTF8 = "line is not UTF-8"
NOT_AN_OBJECT = "line is not one JSON object"
WRONG_COLUMNS = "line has the wrong number of columns"


def read_raw(spark: SparkSession, layouts: Sequence[Layout]) -> DataFrame:
    """RAW, FILE, BROKEN (reasons why the line cannot be parsed) and the source columns of all layouts of one input."""
    return reduce(DataFrame.unionByName, [_read_layout(spark, layout) for layout in layouts])


def _read_layout(spark: SparkSession, layout: Layout) -> DataFrame:
    if layout.input.format == "parquet":
        return _read_parquet(spark, layout)
    lines = spark.read.text(layout.paths)
    line = F.ltrim(F.col("value"), F.lit("\ufeff"))  # a byte order mark is no part of the first value
    rows = lines.select(line.alias(_VALUE), F.col("_metadata.file_path").alias(FILE)).where(F.trim(_VALUE) != "")
    if layout.header:
        rows = rows.where(F.col(_VALUE) != layout.header)
    return parse_lines(rows, layout.input, layout.columns)


def parse_lines(rows: DataFrame, spec: Input, columns: Sequence[str]) -> DataFrame:
    """Rows of text (_pp_value, _pp_file) parsed into the columns that the mapping reads."""
    parse = _parsed_json if spec.format == "json" else _parsed_csv
    parsed, malformed, position = parse(spec, columns)
    rules = [Rule(NOT_UTF8, ~F.is_valid_utf8(F.col(_VALUE))), malformed]
    rows = rows.withColumn(_PARSED, parsed)
    return rows.select(
        F.make_valid_utf8(F.col(_VALUE)).alias(RAW), FILE, broken_rules(rules).alias(BROKEN),
        *[_text(F.col(f"{_PARSED}.`{position[name]}`")).alias(name) for name in spec.source_columns],
    )


def _parsed_csv(spec: Input, columns: Sequence[str]) -> tuple[Column, Rule, dict[str, str]]:
    """Struct of strings named by position: a header may hold any names, or one twice."""
    position = {name: f"{OWN_PREFIX}{i}" for i, name in reversed(list(enumerate(columns)))}
    schema = ", ".join([f"{OWN_PREFIX}{i} string" for i in range(len(columns))] + [f"{_CORRUPT} string"])
    parsed = F.from_csv(F.col(_VALUE), schema, {
        "mode": "PERMISSIVE", "columnNameOfCorruptRecord": _CORRUPT, "sep": spec.delimiter, "quote": spec.quote,
        "escape": spec.quote or "\0",  # a quote inside a quoted value is written twice
        "ignoreLeadingWhiteSpace": "true", "ignoreTrailingWhiteSpace": "true",
    })
    return parsed, Rule(WRONG_COLUMNS, F.col(f"{_PARSED}.{_CORRUPT}").isNotNull()), position


def _parsed_json(spec: Input, columns: Sequence[str]) -> tuple[Column, Rule, dict[str, str]]:
    schema = ", ".join([f"`{name}` string" for name in columns] + [f"{_CORRUPT} string"])
    parsed = F.from_json(F.col(_VALUE), schema, {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": _CORRUPT})
    # the parser is content with the first value of a line; arrays and objects run together would lose events
    line = F.trim(_VALUE)
    framed = line.startswith("{") & line.endswith("}")
    nested = F.locate("}", line) < F.length(line)
    one_object = framed & ~(nested & line.rlike(r'\}\s*\{\s*"[^"]*"\s*:'))
    broken = F.col(_PARSED).isNull() | F.col(f"{_PARSED}.{_CORRUPT}").isNotNull() | ~one_object
    return parsed, Rule(NOT_AN_OBJECT, broken), {name: name for name in columns}


def _read_parquet(spark: SparkSession, layout: Layout) -> DataFrame:
    rows = spark.read.parquet(*layout.paths)
    everything = F.to_json(F.struct(*[F.col(f"`{name}`") for name in rows.columns]))
    return rows.select(
        everything.alias(RAW), F.col("_metadata.file_path").alias(FILE), broken_rules([]).alias(BROKEN),
        *[_text(F.col(f"`{name}`").cast("string")).alias(name) for name in layout.input.source_columns],
    )


def _text(value: Column) -> Column:
    """Without surrounding blanks; null where nothing is left."""
    return F.nullif(F.trim(value), F.lit(""))
