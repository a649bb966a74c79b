"""Copy-on-write of SESSIONS around dirty ranges: which events lie in one, which stored sessions stay, file by file."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import SparkSession

from purchasepath.config import Sessions
from purchasepath.sessions.engine.dirty_ranges import unpack_ranges
from purchasepath.sessions.engine.files import WORDS, open_writer
from purchasepath.sessions.engine.hashing import hash_ids
from purchasepath.sessions.engine.rules import Timely
from purchasepath.storage.data_files import DataFile
from purchasepath.storage.parquet import ParquetReader, read_parquet

RangeFiles = tuple[str, ...]
"""Files of packed dirty ranges that a task holds at once."""
Files = tuple[DataFile, ...]


@dataclass(frozen=True)
class InRanges:
    """Keeps the timely events that lie in a dirty range of their visitor (`ranges`: files of them, packed)."""

    config: Sessions
    ranges: RangeFiles
    columns = ("user_id", *Timely.columns)

    def __call__(self, rows: pa.RecordBatch) -> np.ndarray:
        inside = read_intervals(self.ranges).hold(rows["user_id"], rows["event_ts"].cast(pa.int64()).to_numpy())
        timely = Timely(self.config)(rows)
        return inside if timely is None else inside & timely


@dataclass(frozen=True)
class CopyOnWrite:
    """The rows of stored files of SESSIONS that no dirty range retires.

    A file that loses none stays as it is. Small ones of a day that lose some become one; and so do all of them where
    they are many, so that the runs of a year leave no more files than those of a week.
    """

    spark: SparkSession
    files: Files
    ranges: Sequence[RangeFiles]
    small_bytes: int = 8_000_000
    many: int = 16

    def write(self, directory: str) -> list[DataFile]:
        groups, ranges, many = _groups(self.files, self.small_bytes), self.ranges, self.many

        def copy(numbers: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for number in (n for batch in numbers for n in batch["id"].to_pylist()):
                partition = groups[number][0].partition
                gone = retired_on(ranges, partition)["session_id"]
                copy = DataFile(f"{directory}/{partition}/part-{uuid.uuid4().hex}.zstd.parquet", partition)
                kept = [file.address for file in _copy_without(groups[number], gone, copy, many)]
                yield pa.record_batch([[partition] * len(kept), kept], names=["partition", "path"])

        tasks = self.spark.range(0, len(groups), 1, max(1, len(groups)))  # one per group
        written = tasks.mapInArrow(copy, "partition string, path string").collect()
        return [DataFile(row["path"], row["partition"]) for row in written]


def _groups(files: Files, small_bytes: int) -> list[Files]:
    """Every large file alone, the small ones of a partition together."""
    small: dict[str, list[DataFile]] = defaultdict(list)
    large: list[Files] = []
    for file in files:
        if file.bytes < small_bytes:
            small[file.partition].append(file)
        else:
            large.append((file,))
    return large + [tuple(group) for group in small.values()]


def _copy_without(files: Files, gone: pa.ChunkedArray, copy: DataFile, many: int) -> Files:
    """Files with the rows of `files` whose session_id is not among `gone`: those that lose none, unless they are
    `many`, and the others together as `copy`."""
    copied = [file for file in files if _any_in(file, gone)]
    if len(files) - len(copied) >= many:
        copied = list(files)
    if not copied:
        return files
    with open_writer(copy.address) as target:
        for rows in _row_groups(copied[0]) if len(copied) == 1 else [_joined(copied)]:
            kept = rows.filter(pc.invert(pc.is_in(rows["session_id"], gone)))
            target.write_table(kept.cast(target.schema), row_group_size=max(1, len(kept)))
    return (*(file for file in files if file not in copied), copy)


def _any_in(file: DataFile, ids: pa.ChunkedArray) -> bool:
    return bool(pc.any(pc.is_in(read_parquet(file.address, ["session_id"])["session_id"], ids)).as_py())


def _row_groups(file: DataFile) -> Iterator[pa.Table]:
    with ParquetReader(file.address, read_dictionary=WORDS) as source:
        for group in range(source.num_row_groups):
            yield source.read_row_group(group, use_threads=False)


def _joined(files: Sequence[DataFile]) -> pa.Table:
    """The rows of small files, in order."""
    rows = pa.concat_tables([read_parquet(file.address, use_threads=False) for file in files])
    return rows.sort_by([("user_id", "ascending"), ("started_at", "ascending")])


class Intervals:
    """From … to (inclusive) of visitors, in order; those of one visitor do not overlap."""

    def __init__(self, table: pa.Table) -> None:
        users = pc.dictionary_encode(table["user_id"].combine_chunks())
        from_us, to_us = (table[name].to_numpy() for name in ("from_us", "to_us"))
        hashes = hash_ids(users.dictionary)
        by_hash = np.argsort(hashes, kind="stable")
        number = np.empty(len(by_hash), dtype=np.int64)
        number[by_hash] = np.arange(len(by_hash))
        user = number[users.indices.to_numpy()]
        order = np.lexsort((from_us, user))
        self._users, self._hashes = users.dictionary.take(pa.array(by_hash)), hashes[by_hash]
        self._told_apart = bool((self._hashes[1:] != self._hashes[:-1]).all())
        self._from_us, self._to_us = from_us[order], to_us[order]
        self._first = np.searchsorted(user[order], np.arange(len(by_hash) + 1))

    def hold(self, user_ids: pa.Array, us: np.ndarray) -> np.ndarray:
        """bool: does the moment lie in an interval of the visitor?"""
        if pa.types.is_dictionary(user_ids.type):
            user = self._find(user_ids.dictionary)[user_ids.indices.to_numpy()]
        else:
            user = self._find(user_ids)
        rows = np.flatnonzero(user >= 0)
        us, low, high = us[rows], self._first[user[rows]], self._first[user[rows] + 1]
        while (open_ := low < high).any():  # bisection for all rows at once: low ends behind the last one begun
            middle = (low + high) // 2
            begun = open_ & (self._from_us[np.minimum(middle, len(self._from_us) - 1)] <= us)
            low, high = np.where(begun, middle + 1, low), np.where(open_ & ~begun, middle, high)
        inside = np.zeros(len(user), dtype=bool)
        before = low > self._first[user[rows]]
        inside[rows[before]] = us[before] <= self._to_us[low[before] - 1]
        return inside

    def _find(self, user_ids: pa.Array) -> np.ndarray:
        """Number of each visitor, -1 for those without an interval."""
        if not self._told_apart:
            return pc.index_in(user_ids, self._users).fill_null(-1).to_numpy().astype(np.int64)
        hashes = hash_ids(user_ids)
        at = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        found = np.flatnonzero(self._hashes[at] == hashes) if len(self._hashes) else np.empty(0, dtype=np.int64)
        same = pc.equal(self._users.take(pa.array(at[found])), user_ids.take(pa.array(found)))
        number = np.full(len(user_ids), -1, dtype=np.int64)
        found = found[same.to_numpy(zero_copy_only=False)]
        number[found] = at[found]
        return number


def group_range_files(packed: Sequence[str], most: int) -> list[RangeFiles]:
    """Files of packed ranges in groups with at most `most` ranges, and sessions to retire, each (or of one file):
    so many as a task can hold."""
    groups: list[list[str]] = [[]]
    ranges = retired = 0
    for file in packed:
        scope = read_parquet(file, ["scope"])["scope"].combine_chunks()
        more, more_retired = (pc.sum(scope.field(name)).as_py() or 0 for name in ("num_ranges", "num_retired"))
        if groups[-1] and max(ranges + more, retired + more_retired) > most:
            groups.append([])
            ranges = retired = 0
        groups[-1].append(file)
        ranges, retired = ranges + more, retired + more_retired
    return [tuple(group) for group in groups]


def retired_on(ranges: Sequence[RangeFiles], partition: str) -> pa.Table:
    """`read_retired` of one day."""
    return pa.concat_tables([read_retired(packed).filter(pc.field("partition") == partition) for packed in ranges])


@lru_cache(maxsize=1)
def read_intervals(packed: RangeFiles) -> Intervals:
    """Of files of packed ranges. Once per process: tasks of a stage share them."""
    return Intervals(_read_ranges(packed))


@lru_cache(maxsize=1)
def read_retired(packed: RangeFiles) -> pa.Table:
    """`session_id`, `user_id`, `started_at` and `partition` of the stored sessions that give way."""
    ranges = _read_ranges(packed)
    retired = ranges["retired"].combine_chunks()
    sessions = retired.flatten()
    days = pc.strftime(sessions.field("session_date"), "%Y-%m-%d")
    return pa.table({
        "session_id": sessions.field("session_id"),
        "user_id": ranges["user_id"].combine_chunks().take(pc.list_parent_indices(retired)),
        "started_at": sessions.field("from_us").cast(pa.timestamp("us", "UTC")),
        "partition": pc.binary_join_element_wise("session_date=", days, ""),
    })


def _read_ranges(packed: RangeFiles) -> pa.Table:
    columns = [read_parquet(file, ["ranges"])["ranges"] for file in packed]
    return unpack_ranges(pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.binary()))
