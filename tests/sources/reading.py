"""Helpers: raw files on disk, and what a mapping makes of them."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from purchasepath.sources.cleaning import REASONS, judge, read_rows
from purchasepath.sources.direction import split_by_direction
from purchasepath.sources.layout import find_source_layouts
from purchasepath.sources.mapping import Source, load_source
from purchasepath.sources.reading import reading_session

KEY = b"a key for tests, of any length"
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def write_files(directory: Path, files: Mapping[str, str]) -> str:
    """The directory, with these files in it; names in .gz are packed."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return str(directory)


def source_of(**one_input: Any) -> Source:
    """A mapping with one input."""
    return Source.model_validate({"name": "shop", "inputs": [one_input]})


def read(spark: SparkSession, source: Source | str, paths: str) -> DataFrame:
    """Rows of `paths` as typed EVENTS fields with their reasons, before duplicates and pseudonyms."""
    known = load_source(source) if isinstance(source, str) else source
    reader = reading_session(spark)
    found = split_by_direction(reader, find_source_layouts(reader, known, paths))
    return read_rows(reader, known, found.layouts, NOW)


def judged(spark: SparkSession, source: Source | str, paths: str) -> DataFrame:
    return judge(read(spark, source, paths), KEY)


def values(frame: DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    """The rows' values, sorted by their text."""
    return sorted((tuple(row) for row in frame.select(*columns).collect()), key=repr)


def reasons(frame: DataFrame) -> list[list[str]]:
    return sorted(row[REASONS] for row in frame.select(REASONS).collect())
