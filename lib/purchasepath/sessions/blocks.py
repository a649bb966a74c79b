"""Rows pass the shuffle as a few large Arrow blocks instead of one by one, and are worked on by whole columns.

`pack` turns the rows of each task into blocks, one per bucket; `work_on_buckets` gathers the blocks of a bucket with
Spark's own shuffle, which moves and, where memory is short, spills them like any other rows, and hands the
bucket to a function of Arrow tables. A bucket is the unit that has to fit in a Python worker's memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

ROWS_PER_FLUSH = 262_144
"""Rows a task collects before it cuts them into blocks: more rows make larger blocks and need more memory."""

Assign = Callable[[pa.Table], np.ndarray]
"""Table → bucket (int64) of every row."""
Work = Callable[[int, pa.Table], pa.Table]
"""Bucket and its rows, in no order → rows of the result."""


def pack(rows: DataFrame, assign: Assign) -> DataFrame:
    """One row per block: `bucket`, and `block`, the bucket's rows as an Arrow stream."""

    def pack_task(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for table in gather(batches, ROWS_PER_FLUSH):
            yield blocks_of(table, assign(table))

    return rows.mapInArrow(pack_task, "bucket int NOT NULL, block binary NOT NULL")


def work_on_buckets(blocks: DataFrame, work: Work, schema: str) -> DataFrame:
    """Rows (`schema`) that `work` makes of each bucket."""

    def work_on(key: tuple[pa.Scalar, ...], group: pa.Table) -> pa.Table:
        return work(key[0].as_py(), rows_of(group["block"]))

    return blocks.groupBy("bucket").applyInArrow(work_on, schema)


def gather(batches: Iterable[pa.RecordBatch], num_rows: int) -> Iterator[pa.Table]:
    """Tables of at least `num_rows` rows (the last one has what is left); no table without rows."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(map(len, held)) >= num_rows:
            yield pa.Table.from_batches(held)
            held = []
    if any(map(len, held)):
        yield pa.Table.from_batches(held)


def blocks_of(table: pa.Table, bucket: np.ndarray) -> pa.RecordBatch:
    """The rows of `table`, one block per bucket."""
    order = np.argsort(bucket.astype(np.uint16) if bucket.max() < 2**16 else bucket, kind="stable")
    by_bucket = take(table, order)
    found = bucket[order]
    starts = np.flatnonzero(np.r_[True, found[1:] != found[:-1]])
    stops = np.r_[starts[1:], len(found)]
    sink, offsets = pa.BufferOutputStream(), [0]
    for start, stop in zip(starts, stops, strict=True):
        with pa.ipc.new_stream(sink, by_bucket.schema) as stream:
            stream.write_table(by_bucket.slice(start, stop - start))
        offsets.append(sink.tell())
    blocks = pa.Array.from_buffers(pa.binary(), len(starts), [
        None, pa.py_buffer(np.array(offsets, dtype=np.int32)), sink.getvalue()])
    return pa.record_batch([pa.array(found[starts], pa.int32()), blocks], names=["bucket", "block"])


def rows_of(blocks: pa.ChunkedArray) -> pa.Table:
    """All rows of some blocks, in one chunk per column."""
    return pa.concat_tables(pa.ipc.open_stream(block.as_buffer()).read_all() for block in blocks).combine_chunks()


def take(table: pa.Table, order: np.ndarray) -> pa.Table:
    """The rows at `order`."""
    return table.combine_chunks().take(pa.array(order))
