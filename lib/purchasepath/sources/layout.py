"""Layouts: files of one input whose columns stand in the same order, checked against the mapping.

The driver looks at the beginning of every file (of an even sample beyond a thousand files), so that a wrong
delimiter or a missing column is one clear error before any work, instead of a million rejected rows.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import SparkSession

from purchasepath.errors import InputError
from purchasepath.places import literal_path
from purchasepath.sources.files import (
    RawFile,
    assign_files,
    check_parquet,
    find_files,
    read_head,
    some_names,
)
from purchasepath.sources.mapping import Input, Source

MOST_FILES_CHECKED = 1_000
DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class Layout:
    """Files with the same columns; `header` is their first line, '' where they have none."""

    input: Input
    files: tuple[RawFile, ...]
    columns: tuple[str, ...]
    header: str = ""

    @property
    def paths(self) -> list[str]:
        return [literal_path(file.path) for file in self.files]


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
    return SourceLayouts(layouts, num_files, remarks)


def find_layouts(spark: SparkSession, spec: Input, files: Sequence[RawFile]) -> list[Layout]:
    """One layout per different header among `files`; files without any line are left out.

    Raises InputError, naming file, expected and found columns, for the first file that does not fit.
    """
    checked = even_sample(files, MOST_FILES_CHECKED)
    if spec.format == "parquet":
        return [_parquet_layout(spark, spec, files, checked)]
    heads = {file.path: read_head(spark, file) for file in checked}
    filled = [file for file in checked if heads[file.path]]
    if not filled:
        return []
    if spec.format == "json":
        for file in filled:
            check_json_head(spec, file.path, heads[file.path])
        return [Layout(spec, tuple(files), spec.source_columns)]
    if not spec.header:
        for file in filled:
            check_plain_head(spec, file.path, heads[file.path])
        return [Layout(spec, tuple(files), spec.columns)]
    groups: dict[str, list[RawFile]] = {}
    for file in filled:
        groups.setdefault(heads[file.path][0], []).append(file)
    unseen = [file for file in files if file.path not in heads]
    layouts = []
    for number, (header, members) in enumerate(groups.items()):
        # files beyond the sample are taken to look like the first one; rows that do not fit are rejected one by one
        mine = (*members, *unseen) if number == 0 else tuple(members)
        layouts.append(Layout(spec, mine, check_header(spec, members[0].path, header), header))
    return layouts


def even_sample(files: Sequence[RawFile], most: int) -> list[RawFile]:
    """`most` files spread evenly over all of them, or all if they are fewer."""
    return list(files) if len(files) <= most else [files[i * len(files) // most] for i in range(most)]


def split_line(spec: Input, line: str, delimiter: str | None = None) -> list[str]:
    """The values of one csv line, as the mapping writes them."""
    separator = delimiter or spec.delimiter
    if len(separator) > 1 or not spec.quote:
        return [value.strip() for value in line.split(separator)]
    values = next(csv.reader([line], delimiter=separator, quotechar=spec.quote))
    return [value.strip() for value in values]


def check_header(spec: Input, path: str, header: str) -> tuple[str, ...]:
    """The columns the header names. Raises InputError if one the mapping reads is missing or stands twice."""
    found = tuple(split_line(spec, header))
    missing = [name for name in spec.source_columns if name not in found]
    if missing:
        fitting = [d for d in DELIMITERS if set(spec.source_columns) <= set(split_line(spec, header, d))]
        advice = f"with delimiter {fitting[0]!r} it fits: set `delimiter` in the mapping" if fitting else \
            "adapt the mapping's fields to the file"
        raise InputError(
            f"{path}: columns {', '.join(missing)} are missing (input {spec.name}, delimiter {spec.delimiter!r})\n"
            f"  expected: {', '.join(spec.source_columns)}\n  found: {', '.join(found)[:500]}\n  {advice}"
        )
    double = [name for name in spec.source_columns if found.count(name) > 1]
    if double:
        raise InputError(f"{path}: columns {', '.join(double)} stand twice in the header; expected each once")
    return found


def check_plain_head(spec: Input, path: str, lines: Sequence[str]) -> None:
    """Raise InputError if none of a headerless file's first lines has the mapping's number of columns."""
    widths = [len(split_line(spec, line)) for line in lines]
    if len(spec.columns) in widths:
        return
    fitting = [d for d in DELIMITERS if len(split_line(spec, lines[0], d)) == len(spec.columns)]
    advice = f"; with delimiter {fitting[0]!r} it has them: set `delimiter` in the mapping" if fitting else ""
    raise InputError(
        f"{path}: expected {len(spec.columns)} columns ({', '.join(spec.columns)}) with delimiter {spec.delimiter!r}, "
        f"found {widths[0]} in the first line{advice}\n  first line: {lines[0][:200]}"
    )


def check_json_head(spec: Input, path: str, lines: Sequence[str]) -> None:
    """Raise InputError if no first line is a JSON object, or a required field's key is in none of them."""
    objects = [parsed for line in lines if isinstance(parsed := _parsed(line), dict)]
    if not objects:
        raise InputError(f"{path}: expected one JSON object per line, found: {lines[0][:200]}")
    found = {key for parsed in objects for key in parsed}
    needed = [c for name in ("user_id", "event_ts", "event_type") for c in spec.fields[name].columns]
    missing = [key for key in needed if key not in found]
    if missing:
        raise InputError(f"{path}: keys {', '.join(missing)} are missing (input {spec.name})\n"
                         f"  expected: {', '.join(spec.source_columns)}\n  found: {', '.join(sorted(found))[:500]}")


def _parsed(line: str) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _parquet_layout(spark: SparkSession, spec: Input, files: Sequence[RawFile], checked: Sequence[RawFile]) -> Layout:
    for file in checked:
        check_parquet(spark, file)
    first = files[0]
    try:
        found = tuple(spark.read.parquet(literal_path(first.path)).columns)
    except Exception as failure:  # Spark has no class of its own for a footer that cannot be read
        raise InputError(f"{first.path} is not readable as Parquet: {str(failure).splitlines()[0]}") from None
    missing = [name for name in spec.source_columns if name not in found]
    if missing:
        raise InputError(f"{first.path}: columns {', '.join(missing)} are missing (input {spec.name})\n"
                         f"  expected: {', '.join(spec.source_columns)}\n  found: {', '.join(found)[:500]}")
    return Layout(spec, tuple(files), found)
