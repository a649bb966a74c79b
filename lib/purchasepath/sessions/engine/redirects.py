"""SUPERSEDED_SESSIONS, written day by day: retired session id → session that now holds its first event."""

from __future__ import annotations

import uuid
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import SparkSession

from purchasepath.config import Sessions
from purchasepath.sessions.engine.hashing import hash_ids
from purchasepath.sessions.engine.rewrite import Files, RangeFiles, read_intervals, retired_on
from purchasepath.sessions.engine.rules import max_us, session_ids
from purchasepath.storage.data_files import DataFile
from purchasepath.storage.parquet import ParquetReader, read_parquet, write_parquet_file
from purchasepath.tables.catalog import SUPERSEDED_SESSIONS
from purchasepath.times import DAY_US

_PUBLISHED = ["session_id", "user_id", "started_at", "run_id"]
_LOOKED_AT = ["session_id", "user_id", "started_at", "ended_at", "offsets_us", "event_ids"]
_BYTES_AT_ONCE = 256_000_000
"""Stored files of a day, by whose ids one task looks for their events; of more, each task takes a share of visitors."""


@dataclass(frozen=True)
class SupersededFiles:
    """SUPERSEDED_SESSIONS of the days that some ranges touch, once those are built anew.

    Looks at the sessions that the ranges retire and at the ids once superseded in them: whatever the ranges
    hold is in `built` now. A day without any keeps its `stored` files.
    """

    spark: SparkSession
    config: Sessions
    run_id: str
    days: Sequence[date]
    stored: Files
    ranges: Sequence[RangeFiles]
    built: Files

    def write(self, directory: str) -> list[DataFile]:
        return _write_days(self.spark, directory, [
            _TouchedDay(_name(day), _on(self.stored, [day]), _around(self.built, day, self.config), self.run_id,
                        self.ranges) for day in self.days])


@dataclass(frozen=True)
class AllSuperseded:
    """SUPERSEDED_SESSIONS once every session is built anew: of all ids that were ever published and are no more.

    `sessions`, `superseded`: files of both tables as they were; `built`: of SESSIONS as it is now.
    """

    spark: SparkSession
    config: Sessions
    run_id: str
    sessions: Files
    superseded: Files
    built: Files

    def write(self, directory: str) -> list[DataFile]:
        sizes = defaultdict[str, int](int)
        for file in (*self.sessions, *self.superseded):
            sizes[file.partition] += file.bytes
        days = {partition: date.fromisoformat(partition.partition("=")[2]) for partition in sorted(sizes)}
        return _write_days(self.spark, directory, [
            _WholeDay(partition, _on(self.superseded, [day]), _around(self.built, day, self.config), self.run_id,
                      _on(self.sessions, [day]), share, shares)
            for partition, day in days.items()
            for shares in [-(-sizes[partition] // _BYTES_AT_ONCE) or 1] for share in range(shares)])


class _Day(Protocol):
    """SUPERSEDED_SESSIONS of one day, as a task finds them."""

    @property
    def partition(self) -> str: ...

    @property
    def stored(self) -> Files:
        """Its rows of before."""

    def rows(self) -> pa.Table | None:
        """What they are now; None where nothing has changed."""


@dataclass(frozen=True)
class _TouchedDay:
    """A day that ranges touch."""

    partition: str
    stored: Files
    built: Files
    run_id: str
    ranges: Sequence[RangeFiles]

    def rows(self) -> pa.Table | None:
        retired = retired_on(self.ranges, self.partition)
        retired = retired.append_column("run_id", pa.array([self.run_id] * len(retired), pa.string()))
        before = _read_rows(self.stored)
        user_ids, started_us = _chunk(before["user_id"]), before["started_at"].cast(pa.int64()).to_numpy()
        inside = pa.array(np.logical_or.reduce([read_intervals(packed).hold(user_ids, started_us)
                                                for packed in self.ranges]))
        once = before.filter(inside).select(_PUBLISHED)
        if not len(retired) and not len(once):
            return None
        published = pa.concat_tables([retired.select(_PUBLISHED).cast(once.schema), once])
        return pa.concat_tables([before.filter(pc.invert(inside)), _superseded(published, self.built)])


@dataclass(frozen=True)
class _WholeDay:
    """A share of the visitors of a day on which all sessions are built anew."""

    partition: str
    stored: Files
    built: Files
    run_id: str
    sessions: Files
    share: int
    num_shares: int

    def rows(self) -> pa.Table:
        once = _read_rows(self.stored).select(_PUBLISHED)
        now = [read_parquet(file.address, _PUBLISHED[:-1]) for file in self.sessions]
        ids = [table.append_column("run_id", pa.array([self.run_id] * len(table), pa.string())) for table in now]
        published = pa.concat_tables([once, *(table.cast(once.schema) for table in ids)])
        share = hash_ids(_chunk(published["user_id"])) % np.uint64(self.num_shares)
        published = published.filter(pa.array(share == self.share))
        there = [read_parquet(file.address, ["session_id"])["session_id"] for file in self.built]
        gone = published.filter(pc.invert(pc.is_in(published["session_id"], pa.chunked_array(
            [chunk for column in there for chunk in column.chunks], pa.string()))))
        return _superseded(gone, self.built)


def _write_days(spark: SparkSession, directory: str, days: Sequence[_Day]) -> list[DataFile]:
    """The files of some days: as they were, or new ones."""

    def write(numbers: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in (n for batch in numbers for n in batch["id"].to_pylist()):
            rows, partition = days[number].rows(), days[number].partition
            files = [file.address for file in days[number].stored] if rows is None else \
                _write(rows, f"{directory}/{partition}")
            yield pa.record_batch([pa.array([partition] * len(files), pa.string()), pa.array(files, pa.string())],
                                  names=["partition", "path"])

    tasks = spark.range(0, len(days), 1, max(1, min(len(days), spark.sparkContext.defaultParallelism)))
    written = tasks.mapInArrow(write, "partition string, path string").collect()
    return [DataFile(row["path"], row["partition"]) for row in written]


def redirects_of(published: pa.Table, sessions: pa.Table) -> list[str | None]:
    """For every published id (session_id, user_id, started_at) the session that holds its first event now: the id
    itself where it is there (again), None where that event is in no session.

    `sessions`: some columns of SESSIONS. An id is a hash of its first event's time and id: the event is told by it,
    though no table keeps it.
    """
    users = pc.unique(published["user_id"])
    user = pc.index_in(sessions["user_id"], users).fill_null(-1).to_numpy()
    from_us, to_us = (sessions[name].cast(pa.int64()).to_numpy() for name in ("started_at", "ended_at"))
    order = np.lexsort((to_us, from_us, user))
    sessions = sessions.take(pa.array(order))
    first = np.searchsorted(user[order], np.arange(len(users) + 1)).tolist()
    begins, ends = from_us[order].tolist(), to_us[order].tolist()
    ids, offsets, events = (_chunk(sessions[name]) for name in ("session_id", "offsets_us", "event_ids"))
    bounds, since = offsets.offsets.to_numpy(), offsets.values.to_numpy()

    def find(published_id: str, user_id: str, number: int, at: int) -> str | None:
        place = bisect_right(begins, at, first[number], first[number + 1]) - 1
        while place >= first[number] and ends[place] >= at:  # several, where sessions share an instant
            within = since[bounds[place]:bounds[place + 1]]
            low, high = (int(bounds[place] + np.searchsorted(within, at - begins[place], side=side))
                         for side in ("left", "right"))
            level = events.values.slice(low, high - low).to_pylist()
            if published_id in session_ids((user_id, at, event) for event in level):
                return str(ids[place].as_py())
            place -= 1
        return None

    return [find(*told) for told in zip(
        published["session_id"].to_pylist(), published["user_id"].to_pylist(),
        pc.index_in(published["user_id"], users).to_pylist(),
        published["started_at"].cast(pa.int64()).to_pylist(), strict=True)]


def _superseded(published: pa.Table, built: Files) -> pa.Table:
    """SUPERSEDED_SESSIONS of those `published` ids that are gone. `built`: whatever may hold their first events."""
    users = pc.unique(published["user_id"])
    sessions = [_of_visitors(file, users) for file in built] if len(users) else []
    homes = redirects_of(published, pa.concat_tables(sessions)) if sessions else [None] * len(published)
    found = published.append_column("superseded_by", pa.array(homes, pa.string()))
    gone = pc.fill_null(pc.not_equal(found["superseded_by"], found["session_id"]), True)
    return found.filter(gone).select(SUPERSEDED_SESSIONS.file_schema().names)


def _read_rows(files: Files) -> pa.Table:
    schema = SUPERSEDED_SESSIONS.file_schema()
    return pa.concat_tables([schema.empty_table(), *(read_parquet(file.address, schema.names).cast(schema)
                                                     for file in files)])


def _of_visitors(file: DataFile, users: pa.Array) -> pa.Table:
    """Lookup columns of these visitors' sessions."""
    with ParquetReader(file.address) as source:
        groups = (source.read_row_group(n, _LOOKED_AT, use_threads=False) for n in range(source.num_row_groups))
        return pa.concat_tables([group.filter(pc.is_in(group["user_id"], users)) for group in groups])


def _write(rows: pa.Table, directory: str) -> list[str]:
    """A file, if there is a row to write."""
    if not len(rows):
        return []
    address = f"{directory}/part-{uuid.uuid4().hex}.zstd.parquet"
    write_parquet_file(address, rows.sort_by([(name, "ascending") for name in SUPERSEDED_SESSIONS.cluster_by]))
    return [address]


def _name(day: date) -> str:
    return f"session_date={day}"


def _on(files: Files, days: Sequence[date]) -> Files:
    partitions = {_name(day) for day in days}
    return tuple(file for file in files if file.partition in partitions)


def _around(files: Files, day: date, config: Sessions) -> Files:
    """Of the days on which a session may have begun that holds an event of this day."""
    return _on(files, [date.fromordinal(day.toordinal() - n) for n in range(-(-max_us(config) // DAY_US) + 1)])


def _chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays([pa.array([], column.type), *column.chunks])
