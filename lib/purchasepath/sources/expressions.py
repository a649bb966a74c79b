"""What a mapping has Spark interpret, tried when the mapping is read: its `sql` and its patterns of times.

An expression of a mapping is a value of one row: allowed functions over the columns in `uses`. It opens no file,
asks no other table, runs no code and answers alike each time. It is parsed and analysed here, and not run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import pyspark.sql.functions as F
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.types import StringType, StructField, StructType

from purchasepath.errors import ConfigError, InputError
from purchasepath.sources.mapping import Source

FUNCTIONS = frozenset("""
    abs array array_compact array_contains array_distinct array_except array_intersect array_join array_max
    array_min array_position array_remove array_size array_sort array_union arrays_overlap arrays_zip ascii base64
    between bigint bin boolean btrim cardinality cast ceil ceiling char char_length character_length chr coalesce
    concat concat_ws contains conv crc32 date date_add date_diff date_format date_from_unix_date date_part date_sub
    date_trunc dateadd datediff datepart day dayofmonth dayofweek dayofyear decimal double elt element_at encode
    decode endswith equal_null exists filter find_in_set flatten float floor forall format_number format_string
    from_csv from_json from_unixtime from_utc_timestamp get get_json_object greatest hash hex hour if ifnull ilike
    initcap instr int is_valid_utf8 isnan isnotnull isnull json_array_length json_object_keys last_day lcase least
    left len length levenshtein like ln locate log log10 log2 lower lpad ltrim make_date make_timestamp
    make_valid_utf8 map map_concat map_contains_key map_entries map_filter map_from_arrays map_from_entries map_keys
    map_values md5 minute mod month months_between named_struct nanvl negative nullif nullifzero nvl nvl2
    octet_length overlay parse_json parse_url pmod position positive pow power quarter regexp regexp_count
    regexp_extract regexp_extract_all regexp_instr regexp_like regexp_replace regexp_substr repeat replace reverse
    right rint rlike round rpad rtrim second sequence sha sha1 sha2 sign signum size slice smallint sort_array
    soundex split split_part sqrt startswith str_to_map string struct substr substring substring_index timestamp
    timestamp_micros timestamp_millis timestamp_seconds tinyint to_char to_date to_json to_number to_timestamp
    to_timestamp_ntz to_unix_timestamp to_utc_timestamp transform translate trim trunc try_add try_divide
    try_element_at try_mod try_multiply try_parse_json try_parse_url try_subtract try_to_binary try_to_date
    try_to_number try_to_timestamp try_url_decode try_variant_get ucase unbase64 unhex unix_date unix_micros
    unix_millis unix_seconds unix_timestamp upper url_decode url_encode variant_get weekday weekofyear xxhash64 year
    zeroifnull
""".split())  # noqa: SIM905 - a list to be read

SYNTAX = frozenset("""
    Literal UnresolvedAttribute UnresolvedFunction UnresolvedExtractValue UnresolvedNamedLambdaVariable
    LambdaFunction Cast CaseWhen If Coalesce Concat And Or Not EqualTo EqualNullSafe LessThan LessThanOrEqual
    GreaterThan GreaterThanOrEqual In Like ILike RLike LikeAll LikeAny NotLikeAll NotLikeAny IsNull IsNotNull Add
    Subtract Multiply Divide IntegralDivide Remainder UnaryMinus UnaryPositive BitwiseAnd BitwiseOr BitwiseXor
    BitwiseNot Between UnresolvedBetweenExpression Substring Overlay StringTrim StringTrimLeft StringTrimRight
    StringLocate IsTrue IsNotTrue IsFalse IsNotFalse IsUnknown IsNotUnknown Extract UnresolvedTimestampAdd
    DateAddInterval IsNaN StringInstr TimestampAdd TimestampDiff
""".split())  # noqa: SIM905 - a list to be read


WITHOUT_BRACKETS = frozenset(("current_date", "current_time", "current_timestamp", "current_user", "current_catalog",
                              "current_database", "current_schema", "user", "session_user", "localtime",
                              "localtimestamp", "grouping__id"))
"""Functions that Spark takes for columns of their name."""


def check_expressions(spark: SparkSession, source: Source) -> None:
    """Raise ConfigError with every `sql` and every pattern of `source` that Spark would not evaluate, or we forbid."""
    faults = []
    for spec in source.inputs:
        fault = _pattern_fault(spark, spec.time.format)
        faults += [f"input {spec.name}: time.format {spec.time.format!r}: {fault}"] if fault else []
        for name, field in spec.fields.items():
            fault = expression_fault(spark, field.sql, field.uses) if field.sql else None
            faults += [f"input {spec.name}: fields.{name}: sql `{field.sql}`: {fault}"] if fault else []
    if faults:
        raise ConfigError(f"source mapping {source.name}, {fault}" for fault in faults)


def expression_fault(spark: SparkSession, sql: str, uses: tuple[str, ...]) -> str | None:
    """Why `sql` is no expression for a mapping, over columns of strings; None where it is one."""
    try:
        parsed = spark._jsparkSession.sessionState().sqlParser().parseExpression(sql)
        forbidden = next(filter(None, (_forbidden(node, uses) for node in _nodes(parsed))), None)
        if forbidden:
            return forbidden
        empty = spark.createDataFrame([], StructType([StructField(name, StringType()) for name in uses]))
        empty.select(F.expr(sql).cast("string"))
    except (PySparkException, Py4JJavaError) as failure:
        return _first_line(failure)
    return None


@contextmanager
def explained_values(source: Source) -> Iterator[None]:
    """Raises InputError where the block fails because a mapping's `sql` fails on the values of one row."""
    try:
        yield
    except (PySparkException, Py4JJavaError) as failure:
        text = str(failure)
        if not re.search(r"SQLSTATE: 22\w{3}", text):
            raise
        told = re.search(r"\[[A-Z_.]+\].*", text)
        suspects = [f"input {spec.name}: {name}: {field.sql}" for spec in source.inputs
                    for name, field in spec.fields.items() if field.sql]
        if not suspects:
            raise
        culprits = [one for one in suspects if _quoted_in(text, one)] or suspects
        raise InputError(f"an expression of source mapping {source.name} fails on a row: "
                         f"{told[0] if told else text.splitlines()[0]}\n  " + "\n  ".join(culprits) +
                         "\nwrite it so that it gives null instead (try_cast, try_divide, try_element_at …), or "
                         "give the text itself: what is no number or time is rejected, row by row") from None


def _quoted_in(message: str, expression: str) -> bool:
    """Whether Spark's message quotes a piece of the expression."""
    quoted = re.search(r"== SQL.*?==\n(.*?)\n\s*\^", message, re.DOTALL)
    return bool(quoted) and quoted[1].strip() in expression  # type: ignore[index]


def _nodes(expression: Any) -> Iterator[Any]:
    yield expression
    children = expression.children()
    for i in range(children.length()):
        yield from _nodes(children.apply(i))


def _forbidden(node: Any, uses: tuple[str, ...]) -> str | None:
    kind = node.getClass().getSimpleName()
    if kind == "UnresolvedAttribute" and _strings(node.nameParts())[0] not in uses:
        return f"column `{_strings(node.nameParts())[0]}` is not in `uses` ({', '.join(uses)})"
    if kind == "UnresolvedNamedLambdaVariable" and _strings(node.nameParts())[0].lower() in WITHOUT_BRACKETS:
        return f"function `{_strings(node.nameParts())[0]}` is not allowed in a mapping"
    if kind == "UnresolvedFunction":
        name = ".".join(part.lower() for part in _strings(node.nameParts()))
        if name not in FUNCTIONS:
            close = get_close_matches(name, FUNCTIONS, n=1)
            meant = f" (did you mean `{close[0]}`?)" if close else ""
            return f"function `{name}` is not allowed in a mapping{meant}"
        return f"function `{name}` has DISTINCT or FILTER, as only aggregates have" \
            if node.isDistinct() or node.filter().isDefined() else None
    return None if kind in SYNTAX else \
        f"{kind} is not allowed: expected a value of one row, made by functions of its columns"


def _strings(found: Any) -> list[str]:
    return [found.apply(i) for i in range(found.length())]


def _pattern_fault(spark: SparkSession, pattern: str) -> str | None:
    if pattern == "iso" or pattern.startswith("epoch_"):
        return None
    try:
        # a constant: the driver works it out, without a job
        spark.sql("select try_to_timestamp('x', :pattern)", {"pattern": pattern}).collect()
    except (PySparkException, Py4JJavaError) as failure:
        return f"Spark knows no such pattern: {_first_line(failure)} (years are yyyy, days dd; words stand in quotes)"
    return None


def _first_line(failure: Exception) -> str:
    told = re.search(r"(?:\[[A-Z_.]+\]|Unknown pattern|Illegal pattern|Too many pattern)[^\n]*", str(failure))
    return (told[0] if told else str(failure).splitlines()[0])[:300]
