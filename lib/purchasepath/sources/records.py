"""CSV records: what a line break inside quotes is part of, and which files have such.

Lines are read in parallel, a file of many gigabytes by many tasks; a record that spans lines forbids it, for where a
quote opens is known only from the beginning of the file. So files whose lines all close their quotes are read by
lines, and each of the others whole, by one task.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote

import pyspark.sql.functions as F
from pyspark.sql import Column, SparkSession

from purchasepath.errors import InputError
from purchasepath.places import literal_path
from purchasepath.sources.files import LOCAL, RawFile, read_options
from purchasepath.sources.mapping import Input
from purchasepath.sources.unreadable import explained_damage

MOST_WHOLE_BYTES = 1 << 30
"""Spark holds a whole file in one array of at most 2 GiB, and its records beside it."""
MOST_PACKED_BYTES = MOST_WHOLE_BYTES >> 3
PACKED = (".gz", ".bz2", ".zst", ".lz4", ".snappy", ".deflate")


def has_open_quote(line: Column, quote: str) -> Column:
    """Whether the number of quotes is odd: a value goes on in the next line, or a quote stands alone."""
    quotes = F.length(line) - F.length(F.replace(line, F.lit(quote), F.lit("")))
    return line.contains(quote) & (quotes % 2 == 1)


def find_files_with_open_quotes(spark: SparkSession, spec: Input, files: Sequence[RawFile]) -> list[RawFile]:
    """The files with a line that does not close its quotes. Reads every file once, and parses nothing."""
    if not spec.quote or not files:
        return []
    lines = spark.read.options(**read_options(files)).text([literal_path(file.path) for file in files])
    if spec.comment:
        lines = lines.where(~F.col("value").startswith(spec.comment))
    with explained_damage():
        open_lines = lines.where(has_open_quote(F.col("value"), spec.quote))
        found = open_lines.select("_metadata.file_path").distinct().collect()  # at most a row per file
    paths = {_as_listed(row[0]) for row in found}
    return [file for file in files if file.path in paths]


def check_whole(file: RawFile, why: str) -> None:
    """Raise InputError where a file that must be read whole is too large for it."""
    most = MOST_PACKED_BYTES if file.name.endswith(PACKED) else MOST_WHOLE_BYTES
    if file.size > most:
        raise InputError(f"{file.path} {why}, so it is read whole, by one task, and {file.size:,} bytes are too many "
                         f"for that: at most {most:,}. Cut it into smaller files (between two records)")


def literal_pattern(text: str) -> str:
    """A regular expression of Java's for exactly this text."""
    return "\\Q" + text.replace("\\E", "\\E\\\\E\\Q") + "\\E"


def record_pattern(spec: Input) -> str:
    """A regular expression for one record in which every quote that opens a value is closed."""
    quote, delimiter = literal_pattern(spec.quote), literal_pattern(spec.delimiter)
    blanks = "[ ]*+" if spec.delimiter == "\t" else "[ \\t]*+"
    ends = f"(?={delimiter}|[\\r\\n]|\\z)"
    inside = f"[^{quote}]"
    quoted = f"{blanks}{quote}(?:{inside}++|{quote}{quote})*+{quote}{blanks}{ends}"
    plain = f"{blanks}(?!{quote})(?:(?!{delimiter})[^\\r\\n])*+{ends}"
    value = f"(?:{quoted}|{plain})"
    return f"{value}(?:{delimiter}{value})*+(?=[\\r\\n]|\\z)"


def split_records(text: Column, spec: Input) -> Column:
    """The records of a whole file; a line that opens a quote which nothing closes is one by itself."""
    return F.regexp_extract_all(text, F.lit(f"{record_pattern(spec)}|[^\\r\\n]+"), F.lit(0))


def is_unclosed(record: Column, spec: Input) -> Column:
    """Whether a record of `split_records` opens a quote that nothing closes."""
    return has_open_quote(record, spec.quote) & ~record.rlike(f"\\A(?:{record_pattern(spec)})\\z")


def _as_listed(uri: str) -> str:
    path = unquote(uri)
    return LOCAL + path.removeprefix("file://") if path.startswith("file:///") else path
