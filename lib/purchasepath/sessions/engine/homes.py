"""Where the first events of ids that were published once are now: SUPERSEDED_SESSIONS, written day by day."""

from __future__ import annotations

import uuid
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import SparkSession

from purchasepath.config import Sessions
from purchasepath.sessions.engine.cuts import max_us
from purchasepath.sessions.engine.touched import Files, read_intervals, read_retired
from purchasepath.sessions.identifiers import session_ids
from purchasepath.storage.parquet import ParquetReader, read_parquet, write_parquet_file
from purchasepath.storage.warehouse import StagedFile
from purchasepath.tables.catalog import SUPERSEDED_SESSIONS
from purchasepath.times import DAY_US

_PUBLISHED = ["session_id", "user_id", "started_at", "run_id"]
_LOOKED_AT = ["session_id", "user_id", "started_at", "ended_at", "offsets_us", "event_ids"]


@dataclass(frozen=True)
class SupersededFiles:
    """SUPERSEDED_SESSIONS of the days that some stretches touch, once those are built again.

    Looks at the sessions that the stretches retire and at the ids once superseded in them: whatever the stretches
    hold is in `built` now. A day without any keeps its `stored` files.
    """

    spark: SparkSession
    config: Sessions
    run_id: str
    days: Sequence[date]
    stored: Files
    stretches: Files
    built: Files

    def write(self, directory: Path) -> list[StagedFile]:
        parts = [(f"session_date={day}", _on(self.stored, [day]), _on(self.built, self._days_of_homes(day)))
                 for day in self.days]
        stretches, run_id = self.stretches, self.run_id

        def replace(numbers: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for number in (n for batch in numbers for n in batch["id"].to_pylist()):
                partition, stored, built = parts[number]
                found = _superseded(partition, stored, stretches, built, run_id)
                files = [str(path) for path in (stored if found is None else _write(found, directory / partition))]
                yield pa.record_batch([pa.array([partition] * len(files), pa.string()), pa.array(files, pa.string())],
                                      names=["partition", "path"])

        tasks = self.spark.range(0, len(parts), 1, max(1, min(len(parts), self.spark.sparkContext.defaultParallelism)))
        written = tasks.mapInArrow(replace, "partition string, path string").collect()
        return [StagedFile(Path(row["path"]), row["partition"]) for row in written]

    def _days_of_homes(self, day: date) -> list[date]:
        """Days on which a session may have begun that holds an event of this day."""
        return [date.fromordinal(day.toordinal() - n) for n in range(-(-max_us(self.config) // DAY_US) + 1)]


def homes_of(published: pa.Table, sessions: pa.Table) -> list[str | None]:
    """For every published id (session_id, user_id, started_at) the session that holds its first event: the id itself
    where it is there (again), None where that event is in no session.

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


def _superseded(partition: str, stored: Files, stretches: Files, built: Files, run_id: str) -> pa.Table | None:
    """What a day's rows are now; None: what they were."""
    retired = read_retired(stretches)
    retired = retired.filter(pc.equal(retired["partition"], partition))
    retired = retired.append_column("run_id", pa.array([run_id] * len(retired), pa.string()))
    schema = SUPERSEDED_SESSIONS.file_schema()
    before = pa.concat_tables([schema.empty_table(), *(read_parquet(file, schema.names).cast(schema)
                                                       for file in stored)])
    inside = pa.array(read_intervals(stretches).hold(
        _chunk(before["user_id"]), before["started_at"].cast(pa.int64()).to_numpy()))
    once = before.filter(inside)
    if not len(retired) and not len(once):
        return None
    published = pa.concat_tables([retired.select(_PUBLISHED).cast(once.select(_PUBLISHED).schema),
                                  once.select(_PUBLISHED)])
    sessions = [_of_visitors(file, pc.unique(published["user_id"])) for file in built]
    homes = homes_of(published, pa.concat_tables(sessions)) if sessions else [None] * len(published)
    found = published.append_column("superseded_by", pa.array(homes, pa.string()))
    gone = pc.fill_null(pc.not_equal(found["superseded_by"], found["session_id"]), True)
    rows = pa.concat_tables([before.filter(pc.invert(inside)), found.filter(gone).select(before.column_names)])
    return rows.sort_by([(name, "ascending") for name in SUPERSEDED_SESSIONS.cluster_by])


def _of_visitors(file: Path, users: pa.Array) -> pa.Table:
    """What homes are found by, of these visitors' sessions."""
    with ParquetReader(file) as source:
        groups = (source.read_row_group(n, _LOOKED_AT, use_threads=False) for n in range(source.num_row_groups))
        return pa.concat_tables([group.filter(pc.is_in(group["user_id"], users)) for group in groups])


def _write(rows: pa.Table, directory: Path) -> list[Path]:
    """A file, if there is a row to write."""
    if not len(rows):
        return []
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"part-{uuid.uuid4().hex}.zstd.parquet"
    write_parquet_file(path, rows)
    return [path]


def _on(files: Files, days: Sequence[date]) -> Files:
    partitions = {f"session_date={day}" for day in days}
    return tuple(file for file in files if file.parent.name in partitions)


def _chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays([pa.array([], column.type), *column.chunks])
