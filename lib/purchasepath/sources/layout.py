"""Layouts: files of one input whose columns stand in the same order, checked against the mapping.

The driver looks at the beginning of every file (of an even sample beyond a thousand files), so that a wrong
delimiter or a missing column is one clear error before any work, instead of a million rejected rows.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pyspark.sql import SparkSession

from purchasepath.errors import InputError
from purchasepath.places import literal_path
from purchasepath.sources.files import (
    RawFile,
    assign_files,
    check_parquet,
    find_files,
    read_head,
    read_options,
    some_names,
)
from purchasepath.sources.mapping import REQUIRED_FIELDS, Input, Source
from purchasepath.sources.parquet import ParquetColumns, footer_schema, parquet_columns
from purchasepath.sources.records import check_whole, find_files_with_open_quotes

MOST_FILES_CHECKED = 1_000
DELIMITERS = (",", ";", "\t", "|")
csv.field_size_limit(2**31 - 1)  # a long value is no fault


@dataclass(frozen=True)
class Layout:
    """Files with the same columns; `header` is their first record, '' where they have none.

    `whole`: their records do not end with their lines (quoted line breaks in csv, an array in json). `backwards`: their
    times run backwards (`direction`).
    """

    input: Input
    files: tuple[RawFile, ...]
    columns: tuple[str, ...]
    header: str = ""
    whole: bool = False
    backwards: bool = False
    parquet: ParquetColumns | None = None

    @property
    def paths(self) -> list[str]:
        return [literal_path(file.path) for file in self.files]

    @property
    def options(self) -> dict[str, str]:
        """What Spark's readers must be told about these files' names."""
        return read_options(self.files)


@dataclass(frozen=True)
class SourceLayouts:
    """All that a source reads: the layouts of each input, the number of files, and remarks for the summary."""

    layouts: dict[str, list[Layout]]
    num_files: int
    remarks: list[str]


def find_source_layouts(spark: SparkSession, source: Source, paths: str) -> SourceLayouts:
    """The files of `paths`, each with the input that reads it. Raises InputError when they do not fit the source."""
    assigned, left_out = assign_files(source, find_files(spark, paths))
    layouts = {spec.name: find_layouts(spark, spec, assigned[spec.name]) for spec in source.inputs}
    num_files = sum(len(files) for files in assigned.values())
    if not any(layouts.values()):
        raise InputError(f"{paths}: every file is empty ({num_files} files); expected raw events of {source.name}")
    remarks = [f"{len(left_out)} files fit no input and were left out: {some_names(left_out)}"] if left_out else []
    whole = [file for found in layouts.values() for layout in found if layout.whole for file in layout.files]
    if whole:
        remarks.append(f"{len(whole)} files were each read whole, by one task, for their records are not lines "
                       f"(line breaks or single quotes in values, JSON arrays): {some_names(whole)}")
    return SourceLayouts(layouts, num_files, remarks)


def find_layouts(spark: SparkSession, spec: Input, files: Sequence[RawFile]) -> list[Layout]:
    """One layout per different header among `files`; files without any line are left out.

    Raises InputError, naming file, expected and found columns, for the first file that does not fit.
    """
    checked = even_sample(files, MOST_FILES_CHECKED)
    if spec.format == "parquet":
        return _parquet_layouts(spark, spec, files, checked)
    heads = {file.path: without_comments(spec, read_head(spark, file)) for file in checked}
    filled = {file: heads[file.path] for file in checked if heads[file.path]}
    unseen = [file for file in files if file.path not in heads]
    rest = [*filled, *unseen]
    if not filled:
        return []
    if spec.format == "json":
        return _json_layouts(spec, filled, unseen)
    if not spec.header:
        check_plain_heads(spec, {file.path: lines for file, lines in filled.items()})
        return _by_records(spark, Layout(spec, tuple(rest), spec.columns))
    groups: dict[str, list[RawFile]] = {}
    for file, lines in filled.items():
        groups.setdefault(first_record(spec, lines), []).append(file)
    layouts = []
    for number, (header, members) in enumerate(groups.items()):
        # files beyond the sample are taken to look like the first one; rows that do not fit are rejected one by one
        mine = (*members, *unseen) if number == 0 else tuple(members)
        columns = check_header(spec, members[0].path, header)
        layouts += _by_records(spark, Layout(spec, mine, columns, header))
    return layouts


def _json_layouts(spec: Input, filled: Mapping[RawFile, Sequence[str]], unseen: Sequence[RawFile]) -> list[Layout]:
    arrays = [file for file, lines in filled.items() if is_json_array(lines)]
    for file in arrays:
        check_whole(file, "holds one JSON array instead of one object per line")
    plain = {file: lines for file, lines in filled.items() if file not in arrays}
    if plain:
        check_json_heads(spec, {file.path: lines for file, lines in plain.items()})
    by_lines = Layout(spec, (*plain, *unseen), spec.source_columns)
    found = [by_lines, replace(by_lines, files=tuple(arrays), whole=True)]
    return [layout for layout in found if layout.files]


def _by_records(spark: SparkSession, layout: Layout) -> list[Layout]:
    """`layout` in two: the files whose lines are records, and the others."""
    whole = find_files_with_open_quotes(spark, layout.input, layout.files)
    for file in whole:
        check_whole(file, "holds line breaks or single quotes in values")
    lines = tuple(file for file in layout.files if file not in whole)
    found = [replace(layout, files=lines), replace(layout, files=tuple(whole), whole=True)]
    return [part for part in found if part.files]


def even_sample(files: Sequence[RawFile], most: int) -> list[RawFile]:
    """`most` files spread evenly over all of them, or all if they are fewer."""
    return list(files) if len(files) <= most else [files[i * len(files) // most] for i in range(most)]


def without_comments(spec: Input, lines: Sequence[str]) -> list[str]:
    """The lines that are no comments."""
    return [line for line in lines if not (spec.comment and line.startswith(spec.comment))]


def split_line(spec: Input, line: str, delimiter: str | None = None) -> list[str]:
    """The values of one csv line, as the mapping writes them."""
    separator = delimiter or spec.delimiter
    if not spec.quote:
        return [value.strip() for value in line.split(separator)]
    if len(separator) > 1:  # of which Python's reader knows none
        return [value.strip() for value in _split_by_words(spec.quote, line, separator)]
    values = next(csv.reader([line], delimiter=separator, quotechar=spec.quote))
    return [value.strip() for value in values]


def _split_by_words(quote: str, line: str, separator: str) -> list[str]:
    q, s = re.escape(quote), re.escape(separator)
    found = re.findall(rf"[ \t]*{q}((?:[^{q}]|{q}{q})*){q}[ \t]*(?:{s}|$)|(.*?)(?:{s}|$)", line, re.DOTALL)
    values = [quoted.replace(quote * 2, quote) or plain for quoted, plain in found]
    return values if line.endswith(separator) or not line else values[:-1]  # the last one is that of the end alone


def first_record(spec: Input, lines: Sequence[str]) -> str:
    """The first record of a csv file that begins with `lines`: more than one of them where quotes hold a line break."""
    q = re.escape(spec.quote)
    opened = re.search(rf"(^|{re.escape(spec.delimiter)})[ \t]*{q}([^{q}]|{q}{q})*$", lines[0]) if q else None
    records = ["\n".join(lines[:count]) for count in range(2, len(lines) + 1)] if opened else []
    return next((record for record in records if record.count(spec.quote) % 2 == 0), lines[0])


def check_header(spec: Input, path: str, header: str) -> tuple[str, ...]:
    """The columns the header names. Raises InputError if one the mapping reads is missing or stands twice."""
    found = tuple(split_line(spec, header))
    missing = [name for name in spec.source_columns if name not in found]
    if missing:
        fitting = [d for d in DELIMITERS if set(spec.source_columns) <= set(split_line(spec, header, d))]
        advice = f"with delimiter {fitting[0]!r} it fits: set `delimiter` in the mapping" if fitting else \
            "a line that is a comment is told by `comment: \"#\"` in the mapping" if header.startswith("#") else \
            "adapt the mapping's fields to the file"
        raise InputError(
            f"{path}: columns {', '.join(missing)} are missing (input {spec.name}, delimiter {spec.delimiter!r})\n"
            f"  expected: {', '.join(spec.source_columns)}\n  found: {', '.join(found)[:500]}\n  {advice}"
        )
    double = [name for name in spec.source_columns if found.count(name) > 1]
    if double:
        raise InputError(f"{path}: columns {', '.join(double)} stand twice in the header; expected each once")
    return found


def check_plain_heads(spec: Input, heads: Mapping[str, Sequence[str]]) -> None:
    """Raise InputError if none of the first lines of all headerless files has the mapping's number of columns.

    One file alone may be all faults: its rows are rejected, and counted.
    """
    if any(len(split_line(spec, line)) == len(spec.columns) for lines in heads.values() for line in lines):
        return
    path, lines = next(iter(heads.items()))
    fitting = [d for d in DELIMITERS if len(split_line(spec, lines[0], d)) == len(spec.columns)]
    advice = f"; with delimiter {fitting[0]!r} it has them: set `delimiter` in the mapping" if fitting else ""
    raise InputError(
        f"{path}: expected {len(spec.columns)} columns ({', '.join(spec.columns)}) with delimiter {spec.delimiter!r}, "
        f"found {len(split_line(spec, lines[0]))} in the first line{advice}\n  first line: {lines[0][:200]}"
    )


def is_json_array(lines: Sequence[str]) -> bool:
    """Whether a file that begins with `lines` is one array, and not a line per value."""
    return lines[0].lstrip().startswith("[") and (len(lines) == 1 or _parsed(lines[0]) is None)


def check_json_heads(spec: Input, heads: Mapping[str, Sequence[str]]) -> None:
    """Raise InputError if no first line of any file is a JSON object, or a required field's key is in none of them.

    A writer that leaves nulls out may well write a file without a key, so all files are judged together.
    """
    objects = [parsed for lines in heads.values() for line in lines if isinstance(parsed := _parsed(line), dict)]
    path, lines = next(iter(heads.items()))
    if not objects:
        raise InputError(f"{path}: expected one JSON object per line, found: {lines[0][:200]}")
    found = {key for parsed in objects for key in parsed}
    missing = [key for key in _required_columns(spec) if key not in found]
    if missing:
        raise InputError(f"{path}: keys {', '.join(missing)} are missing (input {spec.name}, {len(objects)} lines of "
                         f"{len(heads)} files)\n  expected: {', '.join(spec.source_columns)}\n"
                         f"  found: {', '.join(sorted(found))[:500]}")


def _required_columns(spec: Input) -> list[str]:
    return [column for name in REQUIRED_FIELDS for column in spec.fields[name].columns]


def _parsed(line: str) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _parquet_layouts(spark: SparkSession, spec: Input, files: Sequence[RawFile],
                     checked: Sequence[RawFile]) -> list[Layout]:
    """One layout per different schema: a column may be of whole numbers in one file and of words in another."""
    groups: dict[str, list[RawFile]] = {}
    for file in checked:
        check_parquet(spark, file)
        groups.setdefault(footer_schema(spark, file), []).append(file)
    seen = {file.path for file in checked}
    next(iter(groups.values())).extend(file for file in files if file.path not in seen)
    layouts = []
    for footer, members in groups.items():
        columns = parquet_columns(spark, members, footer)
        layouts.append(Layout(spec, tuple(members), tuple(columns.schema.names), parquet=columns))
    everywhere = {name for layout in layouts for name in layout.columns}
    for layout in layouts:  # a field that need not be there may be missing in some files, a visitor in none
        missing = [name for name in spec.source_columns
                   if name not in everywhere or (name in _required_columns(spec) and name not in layout.columns)]
        if missing:
            raise InputError(f"{layout.files[0].path}: columns {', '.join(missing)} are missing (input {spec.name})\n"
                             f"  expected: {', '.join(spec.source_columns)}\n"
                             f"  found: {', '.join(layout.columns)[:500]}")
    return layouts
