r"""Exact texts: a value's text is the value's own, whatever the type of the column it came in.

An id is 13085 in a column of whole numbers, of doubles (pandas makes them of every column with a gap), of decimals
with zeros and of words. Nothing is rounded: times keep their nanoseconds.

    type                 value                     text
    double               214536502.0               214536502
    decimal(9,2)         13085.00                  13085
    timestamp            10:00:00.000100, in UTC   2024-01-01 10:00:00.0001Z
    timestamp_ntz        10:00, of no zone         2024-01-01 10:00:00
    binary               \xff00                     \xff00; text in UTF-8 is that text
    struct, array, map                             JSON
"""

from __future__ import annotations

import pyspark.sql.functions as F
from pyspark.sql import Column
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    DataType,
    DecimalType,
    DoubleType,
    FloatType,
    MapType,
    StructType,
    TimestampType,
)

_TO_JSON = {"timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX", "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS"}


def named_column(name: str) -> Column:
    """The column of exactly this name, whatever signs are in it."""
    return F.col("`" + name.replace("`", "``") + "`")


def exact_text(value: Column, kind: DataType) -> Column:
    """The text of a value of a Parquet column; null for null and for NaN, which is no number."""
    if isinstance(kind, DoubleType | FloatType):
        return number_text(value, kind.simpleString())
    text = value.cast("string")
    if isinstance(kind, DecimalType):
        return without_zeros(text) if kind.scale else text
    if isinstance(kind, TimestampType):
        return F.concat(text, F.lit("Z"))  # an instant: no zone of the mapping is to move it
    if isinstance(kind, BinaryType):
        # many writers call text binary; what is none is \x61ff, and so is what would look like it
        return F.when(F.is_valid_utf8(text) & ~text.rlike(r"^\\x|[\x00-\x1f\x7f]"), text).otherwise(
            F.concat(F.lit("\\x"), F.lower(F.hex(value))))
    if isinstance(kind, StructType | ArrayType | MapType):
        return F.to_json(value, _TO_JSON)
    return text


def number_text(value: Column, kind: str) -> Column:
    """A float's or double's text, short, that stands for it alone: no exponent, no `.0`.

    Digits are Java's. Of a double that takes 17, Java before 19 may write a neighbour of the last one, which is read
    as the same double.
    """
    text = value.cast("string")
    whole, plain, wide = value.try_cast("bigint"), text.try_cast("decimal(38,18)"), text.try_cast("decimal(38,0)")
    return F.when(whole.cast(kind) == value, whole.cast("string")).when(F.isnan(value), None).when(
        plain.cast(kind) == value, without_zeros(plain.cast("string"))).when(
        wide.cast(kind) == value, wide.cast("string")).otherwise(text)


def without_zeros(text: Column) -> Column:
    """Digits without the zeros that end a fraction."""
    return F.when(text.contains("."), F.rtrim(F.rtrim(text, F.lit("0")), F.lit("."))).otherwise(text)


def nanos_text(nanos: Column, *, in_utc: bool) -> Column:
    """Nanoseconds since 1970 as a time; `in_utc` says that the zone is known."""
    rest = F.pmod(nanos, F.lit(1_000_000_000))
    second = F.timestamp_seconds(F.call_function("div", nanos - rest, F.lit(1_000_000_000))).cast("string")
    text = without_zeros(F.concat(second, F.lit("."), F.lpad(rest.cast("string"), 9, "0")))
    return F.concat(text, F.lit("Z")) if in_utc else text


def may_be_rounded(text: Column) -> Column:
    """Whether Spark's JSON parser may have made this text of a number: it passes fractions through a double (13085.0,
    2.14E8, 17 digits of 20)."""
    return text.rlike(r"^-?\d+(\.\d+)?([eE][+-]?\d+)?$") & text.rlike("[.eE]")


def json_number(line: Column, key: str) -> Column:
    """The exact text of the number that is the value of `key` in a line parsed as a variant; null where it is none."""
    quote = "'" if '"' in key else '"'
    path = f"$[{quote}{key}{quote}]"
    kind = F.schema_of_variant(F.try_variant_get(line, path, "variant"))
    # a name for the double: it stands in the text's expression nine times, for each column of a shop
    named = F.transform(F.array(F.try_variant_get(line, path, "double")), lambda it: number_text(it, "double"))
    return F.when(kind.startswith("DECIMAL"), F.try_variant_get(line, path, "string")).when(
        kind == "DOUBLE", F.get(named, F.lit(0)))
