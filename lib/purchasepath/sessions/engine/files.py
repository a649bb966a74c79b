"""SESSIONS written by the tasks that cut them: no row passes through Spark between the shuffle and the files."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from purchasepath.config import Sessions
from purchasepath.sessions.engine.partition import BUCKET_EVENTS
from purchasepath.sessions.engine.rules import gap_us
from purchasepath.sessions.engine.sessionize import CutBucket, pack
from purchasepath.sessions.engine.shuffle import UserRuns, runs_of
from purchasepath.sessions.engine.source import ROWS_AT_ONCE, FileSource, Work
from purchasepath.storage.addresses import Address
from purchasepath.storage.data_files import DataFile
from purchasepath.storage.parquet import parquet_writer
from purchasepath.tables.catalog import SESSIONS

_ALL_DIFFERENT = ("session_id", "event_ids", "offsets_us", "arrival_lags_us")
"""Columns for which a dictionary of their values is wasted work."""
_LEAST_EVENTS_PER_TASK, _MOST_EVENTS_PER_TASK = 250_000, 8_000_000
_EVENTS_HELD = 1_000_000
"""Events of finished sessions that a task collects for larger row groups before it writes them."""
_BYTES_PER_BATCH, _BYTES_PER_EVENT = 32_000_000, 80


@dataclass(frozen=True)
class SessionFiles:
    """SESSIONS of some events, as files."""

    events: FileSource
    config: Sessions
    bucket_events: int = BUCKET_EVENTS

    def write(self, directory: str) -> list[DataFile]:
        """Files with all sessions, below `directory`: one per day and task, and another for those still open."""
        spark = self.events.spark
        num_tasks = self._num_tasks(int(spark.conf.get("spark.sql.shuffle.partitions") or 1))
        packed = pack(self.events, self.config, num_tasks, self.bucket_events)
        dealt = packed.blocks.repartition(num_tasks, "bucket").sortWithinPartitions("bucket")
        cut = _cut_and_write(packed.cutter(), directory, gap_us(self.config))
        written = dealt.mapInArrow(cut, "partition string, path string")
        rows = _BYTES_PER_BATCH * packed.partitioner.num_buckets // (_BYTES_PER_EVENT * ROWS_AT_ONCE)
        with _rows_per_batch(spark, rows):
            files = written.collect()  # a row per file
        return [DataFile(row["path"], row["partition"]) for row in files]

    def _num_tasks(self, most: int) -> int:
        rows = self.events.num_rows
        return max(1, min(most, -(-rows // _LEAST_EVENTS_PER_TASK)), -(-rows // _MOST_EVENTS_PER_TASK))


@dataclass(frozen=True)
class Together:
    """The files of several outputs, one after the other."""

    outputs: tuple[SessionFiles, ...]

    def write(self, directory: str) -> list[DataFile]:
        return [file for output in self.outputs for file in output.write(directory)]


@contextmanager
def _rows_per_batch(spark: SparkSession, rows: int) -> Iterator[None]:
    """So many rows at once go from Spark to Python: blocks are large."""
    key = "spark.sql.execution.arrow.maxRecordsPerBatch"
    before = spark.conf.get(key)
    spark.conf.set(key, str(max(1, min(10_000, rows))))
    try:
        yield
    finally:
        spark.conf.set(key, before or "10000")


def _cut_and_write(cut_bucket: CutBucket, directory: str, pause_us: int) -> Work:
    """Blocks in order of bucket → (partition, path) of every file written. Names are new with every attempt of a task:
    what a failed attempt left is known to nobody."""

    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with ExitStack() as stack:
            ended, still_open = _DayFiles(directory, stack), _DayFiles(directory, stack)
            for bucket, runs in _buckets(batches):
                sessions, newest = set_open_apart(cut_bucket(bucket, runs), pause_us)
                ended.add(sessions)
                still_open.add(newest)
            files = [*ended.finish(), *still_open.finish()]
        yield pa.record_batch([pa.array([file.partition for file in files], pa.string()),
                               pa.array([file.address for file in files], pa.string())], names=["partition", "path"])

    return work


def _buckets(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, UserRuns]]:
    """The runs of each bucket."""
    name, held, blocks = -1, list[int](), list[pa.Buffer]()
    for batch in batches:
        for bucket, columns, block in zip(batch["bucket"].to_pylist(), batch["held"].to_pylist(), batch["block"],
                                          strict=True):
            if bucket != name and blocks:
                yield name, runs_of(held, blocks)
                held, blocks = [], []
            name = bucket
            held.append(columns)
            blocks.append(block.as_buffer())
    if blocks:
        yield name, runs_of(held, blocks)


def set_open_apart(sessions: pa.Table, pause_us: int) -> tuple[pa.Table, pa.Table]:
    """Sessions in order of session_date: those that have ended, and those that events to come may go on with, which
    end no longer than a pause before the newest of all.

    In files of their own, these few are all that the next delivery retires if nothing in it is late: the others' files
    stay. Nothing else depends on it, so that a wrong clock, beside which no other session is open, only costs time.
    """
    if not len(sessions):
        return sessions, sessions
    ended_us = sessions["ended_at"].cast(pa.int64()).to_numpy()
    is_open = ended_us >= ended_us.max() - pause_us
    first = int(np.argmax(is_open))
    before, rest, open_ = sessions.slice(0, first), sessions.slice(first), pa.array(is_open[first:])
    return pa.concat_tables([before, rest.filter(pc.invert(open_))]), rest.filter(open_)


class _DayFiles:
    """One file per day, open until the task ends."""

    def __init__(self, directory: str, stack: ExitStack) -> None:
        self._directory, self._stack = directory, stack
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._files: list[DataFile] = []
        self._held: dict[str, list[pa.Table]] = defaultdict(list)
        self._num_held = 0
        self._name = f"part-{uuid.uuid4().hex}.zstd.parquet"

    def add(self, sessions: pa.Table) -> None:
        """Sessions in order of session_date."""
        if not len(sessions):
            return
        self._num_held += int(sessions["num_events"].to_numpy().sum())
        days = sessions["session_date"].to_numpy()
        starts = np.flatnonzero(np.r_[True, days[1:] != days[:-1]])
        rows = sessions.drop_columns(["session_date"])
        for start, stop in zip(starts, [*starts[1:], len(days)], strict=True):
            self._held[f"session_date={days[start]}"].append(rows.slice(start, stop - start))
        if self._num_held >= _EVENTS_HELD:
            self._flush()

    def finish(self) -> list[DataFile]:
        """The files, whole once the task's stack is closed."""
        self._flush()
        return self._files

    def _flush(self) -> None:
        for partition, tables in self._held.items():
            table = pa.concat_tables(tables)
            self._writer(partition).write_table(table, row_group_size=len(table))
        self._held.clear()
        self._num_held = 0

    def _writer(self, partition: str) -> pq.ParquetWriter:
        if partition not in self._writers:
            self._files.append(DataFile(f"{self._directory}/{partition}/{self._name}", partition))
            self._writers[partition] = self._stack.enter_context(open_writer(self._files[-1].address))
        return self._writers[partition]


def open_writer(path: Address) -> pq.ParquetWriter:
    """A new file at `path`, in a directory that is made if need be."""
    schema = SESSIONS.file_schema()
    flat = [field.name for field in schema if not pa.types.is_list(field.type)]
    return parquet_writer(path, schema, use_dictionary=WORDS, write_statistics=flat)


def _path_in_file(field: pa.Field) -> str:
    return f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name


WORDS = [_path_in_file(field) for field in SESSIONS.file_schema() if field.name not in _ALL_DIFFERENT]
"""Columns whose values repeat, as Parquet names them."""
