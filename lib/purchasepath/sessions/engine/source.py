"""Rows as Arrow columns for tasks to work on: of Parquet files that tasks open themselves, or of a frame.

Reading and writing Parquet in the task that works on the columns saves turning every row into Arrow and back, which
costs more than cutting sessions does. A frame serves what is no stored table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession

from purchasepath.sessions.engine.crawlers import find_crawlers
from purchasepath.storage.addresses import Address
from purchasepath.storage.parquet import ParquetReader, read_footer, read_footers
from purchasepath.tables.event_order import filled_tie_order
from purchasepath.tables.types import Table

ROWS_AT_ONCE = 1_000_000
"""Rows a task collects before it works on them: more rows make larger blocks and need more memory. A billion events go
to 2,000 buckets, where a block of half as many rows costs a tenth more."""
_LEAST_ROWS_PER_TASK, _MOST_ROWS_PER_TASK = 100_000, 1_000_000
_ROWS_PER_BATCH = 131_072

_TIMES = {"event_us": "event_ts", "from_us": "started_at", "to_us": "ended_at"}
"""Column that tasks work on → the timestamp that it tells as a number (microseconds, UTC)."""
_MADE_FROM = {name: (of,) for name, of in _TIMES.items()} | {
    "arrival_lag_us": ("event_ts", "arrived_at"), "tie_order": ("tie_order", "event_type"), "crawler": ("agent",)}
"""Column that tasks work on → stored columns that it is made of; all others are called the same."""
_WORDS = ("user_id", "event_type", "item_id", "category", "channel", "campaign", "device", "agent", "source_session")
"""Columns whose values repeat: read as numbers and a dictionary."""

Work = Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]
"""What a task does with its rows: batches of the columns asked for."""


class Keep(Protocol):
    """Which rows count. Travels to the tasks."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Stored columns that it looks at."""

    def __call__(self, rows: pa.RecordBatch, /) -> np.ndarray | None:
        """bool per row; None: all of them."""


class Source(Protocol):
    """Rows of a table, somewhere."""

    @property
    def spark(self) -> SparkSession:
        """Whose tasks read them."""

    @property
    def num_rows(self) -> int | None:
        """Upper bound of rows from the footers; None if unknown."""

    @property
    def most_of_visitor(self) -> int | None:
        """Upper bound of one visitor's rows; None if unknown."""

    def map(self, work: Work, columns: Sequence[str], schema: str, *, roughly: bool = False) -> DataFrame:
        """Rows (`schema`) that `work` makes of the rows of every task: of columns as stored, or made as told in
        `_MADE_FROM`. `roughly`: some more rows may be among them, where that is cheaper."""


@dataclass(frozen=True)
class FrameSource:
    """Those rows of a frame that `keep` lets pass."""

    frame: DataFrame
    keep: Keep | None = None
    num_rows = None
    most_of_visitor = None

    @property
    def spark(self) -> SparkSession:
        return self.frame.sparkSession

    def map(self, work: Work, columns: Sequence[str], schema: str, *, roughly: bool = False) -> DataFrame:
        keep = None if roughly else self.keep
        return self.frame.select(*_stored(columns, keep)).mapInArrow(
            lambda batches: work(_made(batch, columns, keep) for batch in batches), schema)


@dataclass(frozen=True)
class FileSource:
    """Those rows of a table's Parquet files that `keep` lets pass."""

    spark: SparkSession
    table: Table
    files: Sequence[Address]
    keep: Keep | None = None
    most: int | None = None
    """Upper bound of rows that pass, where one is known."""
    most_of_one: int | None = None
    """Upper bound of one visitor's rows that pass, where one is known."""

    @cached_property
    def groups(self) -> list[tuple[Address, int, int]]:
        """(file, row group, rows) of all, from the files' footers."""
        footers = read_footers(self.files)
        return [(path, group, footer.row_group(group).num_rows)
                for path, footer in zip(self.files, footers, strict=True) for group in range(footer.num_row_groups)]

    @property
    def num_rows(self) -> int:
        """Rows that pass, at most."""
        stored = sum(rows for *_, rows in self.groups)
        return stored if self.most is None else min(self.most, stored)

    @property
    def most_of_visitor(self) -> int:
        return self.num_rows if self.most_of_one is None else min(self.most_of_one, self.num_rows)

    def map(self, work: Work, columns: Sequence[str], schema: str, *, roughly: bool = False) -> DataFrame:
        parts = _parts(self.groups, self.spark.sparkContext.defaultParallelism)
        keep = None if roughly else self.keep
        stored, types = _stored(columns, keep), self.table.arrow_schema()

        def read(numbers: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in numbers:
                for number in batch["id"].to_pylist():
                    yield from (_made(rows, columns, keep) for rows in _read(parts[number], stored, types))

        numbers = self.spark.range(0, len(parts), 1, max(1, len(parts)))  # a task per part
        return numbers.mapInArrow(lambda batches: work(read(batches)), schema)


def gather(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Tables of about ROWS_AT_ONCE rows, one chunk per column; no table without rows."""
    held: list[pa.RecordBatch] = []
    num_rows = 0
    for batch in batches:
        held.append(batch)
        num_rows += len(batch)
        if num_rows >= ROWS_AT_ONCE:
            yield _joined(held)
            held, num_rows = [], 0
    if num_rows:
        yield _joined(held)


def _joined(batches: list[pa.RecordBatch]) -> pa.Table:
    return pa.Table.from_batches(batches).unify_dictionaries().combine_chunks()


def _stored(columns: Sequence[str], keep: Keep | None) -> list[str]:
    wanted = [name for column in columns for name in _MADE_FROM.get(column, (column,))]
    return list(dict.fromkeys([*wanted, *(keep.columns if keep else ())]))


def _made(rows: pa.RecordBatch, columns: Sequence[str], keep: Keep | None) -> pa.RecordBatch:
    kept = keep(rows) if keep else None
    rows = rows if kept is None else rows.filter(pa.array(kept))

    def make(name: str) -> pa.Array:
        if name in _TIMES:
            return rows[_TIMES[name]].cast(pa.int64())
        if name == "arrival_lag_us":
            return pc.subtract(rows["arrived_at"].cast(pa.int64()), rows["event_ts"].cast(pa.int64()))
        if name == "tie_order":
            return filled_tie_order(rows["tie_order"], rows["event_type"])
        return find_crawlers(rows["agent"]) if name == "crawler" else rows[name]

    return pa.record_batch([make(name) for name in columns], names=list(columns))


Part = list[tuple[Address, list[int]]]
"""What one task reads: row groups of files."""


def _parts(groups: Sequence[tuple[Address, int, int]], num_cores: int) -> list[Part]:
    """All row groups, in parts of about equal size; small ones together."""
    size = min(_MOST_ROWS_PER_TASK, max(_LEAST_ROWS_PER_TASK, sum(rows for *_, rows in groups) // (2 * num_cores)))
    parts: list[Part] = []
    room = 0
    for path, group, rows in groups:
        if room <= 0:
            parts.append([])
            room = size
        room -= rows
        if parts[-1] and parts[-1][-1][0] == path:
            parts[-1][-1][1].append(group)
        else:
            parts[-1].append((path, [group]))
    return parts


def _read(part: Part, columns: Sequence[str], types: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Batches of a part; a column that a file lacks is null, as Spark reads it."""
    for path, groups in part:
        footer = read_footer(path)
        there = [name for name in columns if name in footer.schema.names]
        words = [name for name in there if name in _WORDS]
        with ParquetReader(path, metadata=footer, read_dictionary=words) as file:
            for batch in file.iter_batches(_ROWS_PER_BATCH, groups, there, use_threads=False):
                nulls = {name: _nulls(name, len(batch), types) for name in columns if name not in there}
                found = [nulls[name] if name in nulls else batch[name] for name in columns]
                yield pa.record_batch(found, names=columns)


def _nulls(name: str, count: int, types: pa.Schema) -> pa.Array:
    """Of the type that the column has where files hold it."""
    nulls = pa.nulls(count, types.field(name).type)
    return nulls.dictionary_encode() if name in _WORDS else nulls
