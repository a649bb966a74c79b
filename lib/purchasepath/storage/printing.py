"""Rows as people and programs read them: an aligned table, CSV, or JSON lines."""

from __future__ import annotations

import csv
from collections.abc import Callable
from typing import TextIO

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame
from pyspark.sql.types import ArrayType, DataType, MapType, StringType, StructField, StructType

from purchasepath.errors import UserError, plain_text

_SHOWN = 200
"""Most rows of the `table` format; the others print every row."""
_NUMBERS = ("byte", "short", "integer", "long", "float", "double", "decimal")
_PLAIN = ("string", "boolean", *_NUMBERS)
"""Types whose values Python holds as Spark does. It has no year 10000 and no interval of months."""
_NESTED = ("array", "map", "struct", "variant")
_JSON = {"ignoreNullFields": "false"}


def print_table(frame: DataFrame, out: TextIO) -> None:
    """At most 200 rows, aligned, and how many there are. What a terminal would obey is told, not sent."""
    texts = _written_by_spark(frame)
    rows = texts.limit(_SHOWN + 1).collect()
    cells = [[_cell(value) for value in row] for row in rows[:_SHOWN]]
    widths = [max(len(line[i]) for line in [frame.columns, *cells]) for i in range(len(frame.columns))]
    numeric = [field.dataType.typeName() in _NUMBERS for field in frame.schema.fields]
    for line in [frame.columns, ["-" * w for w in widths], *cells]:
        padded = [c.rjust(w) if n else c.ljust(w) for c, w, n in zip(line, widths, numeric, strict=True)]
        print("  ".join(padded).rstrip(), file=out)
    more = f"; the first {_SHOWN} are shown, --format csv prints all" if len(rows) > _SHOWN else ""
    print(f"({'more than ' if more else ''}{len(cells)} row{'' if len(cells) == 1 else 's'}{more})", file=out)


def print_csv(frame: DataFrame, out: TextIO) -> None:
    """A header and every row; arrays, maps and structs are JSON."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(frame.columns)
    writer.writerows(_written_by_spark(frame).toLocalIterator())  # one partition in memory at a time


def print_json(frame: DataFrame, out: TextIO) -> None:
    """One object per row, as every JSON parser takes it: "NaN" and "Infinity" are texts, binaries Base64."""
    names = frame.columns
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"several columns are named {', '.join(twice)}, and a JSON object has each name once; "
                        "give them names of their own (… AS name)")
    numbered, columns = _numbered(frame)
    values = [_json_value(column, kind) for column, kind in columns]
    row = F.struct(*[value.alias(name) for value, name in zip(values, names, strict=True)])
    for line in numbered.select(F.to_json(row, _JSON)).toLocalIterator():
        print(line[0], file=out)


FORMATS: dict[str, Callable[[DataFrame, TextIO], None]] = {
    "table": print_table, "csv": print_csv, "json": print_json,
}


def _written_by_spark(frame: DataFrame) -> DataFrame:
    """`frame` with texts in place of all values that Python would write otherwise, or could not hold."""
    numbered, columns = _numbered(frame)
    return numbered.select(*[_text(column, kind) for column, kind in columns]) if columns else numbered


def _numbered(frame: DataFrame) -> tuple[DataFrame, list[tuple[Column, DataType]]]:
    """The same rows with columns named by position, as a query may name several alike, and these with their types."""
    names = [f"_{i}" for i in range(len(frame.columns))]
    types = [field.dataType for field in frame.schema.fields]
    return frame.toDF(*names), list(zip(map(F.col, names), types, strict=True))


def _text(column: Column, kind: DataType) -> Column:
    if kind.typeName() in _PLAIN:
        return column
    if kind.typeName() in _NESTED:
        return F.to_json(_json_value(column, kind), _JSON)
    return F.base64(column) if kind.typeName() == "binary" else column.cast("string")


def _json_value(column: Column, kind: DataType) -> Column:
    """What `to_json` writes as we mean it."""
    if kind.typeName() in _NESTED:
        named = _with_text_keys(kind)
        return column if named == kind else column.cast(named)
    return column if kind.typeName() in (*_PLAIN, "binary") else column.cast("string")


def _with_text_keys(kind: DataType) -> DataType:
    """`kind` with texts for the keys of all its maps: of a day, `to_json` would write its number."""
    if isinstance(kind, MapType):
        return MapType(StringType(), _with_text_keys(kind.valueType), kind.valueContainsNull)
    if isinstance(kind, ArrayType):
        return ArrayType(_with_text_keys(kind.elementType), kind.containsNull)
    if isinstance(kind, StructType):
        return StructType([StructField(f.name, _with_text_keys(f.dataType), f.nullable) for f in kind.fields])
    return kind


def _cell(value: object) -> str:
    if value is None:
        return "null"
    text = f"{value:.6g}" if isinstance(value, float) else plain_text(str(value))
    return text if len(text) <= 80 else text[:77] + "..."
