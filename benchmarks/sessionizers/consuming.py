"""A run that leaves nothing behind: for more events than the disk can hold beside the shuffle and the sessions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from purchasepath.config import Sessions
from purchasepath.sessions.engine.files import SessionFiles
from purchasepath.sessions.engine.rules import Timely
from purchasepath.sessions.engine.shuffle import BLOCK_DDL, EVENT_COLUMNS
from purchasepath.sessions.engine.source import FileSource, Work
from purchasepath.tables.catalog import EVENTS
from sessionizers.generated_events import EVENTS_PER_FILE

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_SECONDS_BETWEEN_LOOKS = 2


class ConsumedEvents(FileSource):
    """Files that a task deletes when it has packed their events. Generated files are as large as a task's part."""

    def map(self, work: Work, columns: Sequence[str], schema: str, *, roughly: bool = False) -> DataFrame:
        last_pass = schema == BLOCK_DDL and set(EVENT_COLUMNS.names) <= set(columns)
        return super().map(_deleting(work, list(self.files)) if last_pass else work, columns, schema, roughly=roughly)


def ours_consuming(spark: SparkSession, source: Path, target: Path) -> dict[str, int]:
    """Sessionizes the files in `source`; `output_bytes`, `sessions` and `events` of what was written and deleted."""
    config = Sessions()
    files = sorted(source.glob("*.parquet"))
    fewest = 2 * spark.sparkContext.defaultParallelism  # of fewer, tasks take a part each
    if len(files) < fewest or any(pq.read_metadata(file).num_rows != EVENTS_PER_FILE for file in files):
        raise ValueError(f"expected at least {fewest} files of {EVENTS_PER_FILE:,} events, so that each is one task's "
                         f"part; found {len(files)}")
    with _counted_and_deleted(target) as output:
        SessionFiles(ConsumedEvents(spark, EVENTS, files, Timely(config)), config).write(target)
    if output["events"] != len(files) * EVENTS_PER_FILE:
        raise AssertionError(f"{len(files) * EVENTS_PER_FILE:,} events became {output['events']:,}")
    return output


def _deleting(work: Work, files: list[Path]) -> Work:
    def work_and_delete(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        yield from work(batches)
        context = TaskContext.get()
        assert context is not None
        files[context.partitionId()].unlink()

    return work_and_delete


@contextmanager
def _counted_and_deleted(target: Path) -> Iterator[dict[str, int]]:
    """Looks for whole files in `target` until the end; a file without a footer is still being written."""
    output = {"output_bytes": 0, "sessions": 0, "events": 0}
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(target, output, done.wait))
    watcher.start()
    try:
        yield output
    finally:
        done.set()
        watcher.join()
        _take_in(target, output)


def _watch(target: Path, output: dict[str, int], wait: Callable[[float], bool]) -> None:
    while not wait(_SECONDS_BETWEEN_LOOKS):
        _take_in(target, output)


def _take_in(target: Path, output: dict[str, int]) -> None:
    for path in target.rglob("*.parquet"):
        try:
            events = pq.ParquetFile(path).read(["num_events"])["num_events"].to_numpy()
        except pa.ArrowInvalid:
            continue
        output["output_bytes"] += path.stat().st_size
        output["sessions"] += len(events)
        output["events"] += int(events.sum())
        path.unlink()
