"""Arrow blocks in which events pass the shuffle: a few large ones, not row by row, worked on by whole columns.

A block holds the events that a task found for one bucket of visitors, grouped in runs: a visitor's id once, then
the columns of the run's events. `blocks_of` makes them, `runs_of` reads those of a bucket. In between
Spark's own shuffle moves them and, where memory is short, spills them like any other rows. A bucket is the unit that
has to fit in a Python worker's memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

EVENT_COLUMNS = pa.schema([
    ("event_id", pa.string()), ("event_us", pa.int64()), ("arrival_lag_us", pa.int64()), ("event_type", pa.string()),
    ("item_id", pa.string()), ("category", pa.string()), ("price", pa.float64()), ("quantity", pa.int32()),
    ("promotion", pa.bool_()), ("channel", pa.string()), ("campaign", pa.string()), ("device", pa.string()),
    ("source_session", pa.string()), ("tie_order", pa.int32()), ("crawler", pa.bool_()),
])
"""What a block may hold of events. A column without any value is left out of it."""
SPAN_COLUMNS = pa.schema([
    ("session_id", pa.string()), ("from_us", pa.int64()), ("to_us", pa.int64()), ("num_events", pa.int64()),
])
"""What a block may hold of spans of time: stored sessions, and (without session_id) events that lie close together."""

BLOCK_DDL = "bucket int NOT NULL, held int NOT NULL, block binary NOT NULL"
"""`held`: bit n is set where the block holds column n of those that blocks may hold."""


@dataclass(frozen=True)
class UserRuns:
    """Events (or spans) in runs, each of one visitor: `user_ids` and `sizes` per run, `columns` (some of those that the
    blocks may hold) per event."""

    user_ids: pa.Array
    sizes: np.ndarray
    columns: dict[str, pa.Array]

    def __len__(self) -> int:
        return int(self.sizes.sum())


def blocks_of(events: pa.Table, bucket: np.ndarray, order: np.ndarray,
              schema: pa.Schema = EVENT_COLUMNS) -> pa.RecordBatch:
    """A row (`BLOCK_DDL`) per bucket. `events`: user_id and some columns of `schema`, one chunk each; `order` brings
    the events of a bucket together, and those of a visitor within it."""
    users = events["user_id"].chunk(0)
    if not pa.types.is_dictionary(users.type):
        users = pc.dictionary_encode(users)
    user, found = users.indices.to_numpy()[order], bucket[order]
    new_bucket = np.r_[True, found[1:] != found[:-1]]
    runs = np.flatnonzero(new_bucket | np.r_[True, user[1:] != user[:-1]])
    names = [name for name in schema.names
             if name in events.column_names and events[name].null_count < len(events)]
    rows = pa.array(order)
    columns = [_take(events[name].chunk(0), rows).cast(schema.field(name).type) for name in names]
    bounds = pa.array(np.r_[runs, len(order)], pa.int32())
    grouped = pa.ListArray.from_arrays(bounds, pa.StructArray.from_arrays(columns, names=names))
    whole = pa.record_batch([users.dictionary.take(pa.array(user[runs])), grouped], names=["user_id", "events"])
    first_runs = np.flatnonzero(new_bucket[runs])
    blocks = [whole.slice(start, stop - start).serialize()
              for start, stop in zip(first_runs, [*first_runs[1:], len(runs)], strict=True)]
    held = np.full(len(blocks), sum(1 << schema.get_field_index(name) for name in names), dtype=np.int32)
    return pa.record_batch([pa.array(found[runs[first_runs]], pa.int32()), pa.array(held), _binary(blocks)],
                           names=["bucket", "held", "block"])


def runs_of(held: Sequence[int], blocks: Iterable[pa.Buffer], schema: pa.Schema = EVENT_COLUMNS) -> UserRuns:
    """All runs of some blocks, in no order."""
    schemas = {number: _block_schema(number, schema) for number in set(held)}
    batches = [pa.ipc.read_record_batch(block, schemas[number]) for number, block in zip(held, blocks, strict=True)]
    lists = [batch["events"] for batch in batches]
    fields = [field for n, field in enumerate(schema) if any(number >> n & 1 for number in schemas)]
    return UserRuns(
        pa.concat_arrays([batch["user_id"] for batch in batches]),
        np.concatenate([np.diff(events.offsets.to_numpy()) for events in lists]),
        {field.name: pa.concat_arrays([_column(events.values, field) for events in lists]) for field in fields},
    )


def runs_in(group: pa.Table, schema: pa.Schema = EVENT_COLUMNS) -> UserRuns:
    """All runs of the blocks in some rows (`BLOCK_DDL`)."""
    return runs_of(group["held"].to_pylist(), (block.as_buffer() for block in group["block"]), schema)


def _block_schema(held: int, schema: pa.Schema) -> pa.Schema:
    fields = [field for n, field in enumerate(schema) if held >> n & 1]
    return pa.schema([("user_id", pa.string()), ("events", pa.list_(pa.struct(fields)))])


def _column(events: pa.StructArray, field: pa.Field) -> pa.Array:
    at = events.type.get_field_index(field.name)
    return pa.nulls(len(events), field.type) if at < 0 else events.field(at)


def _take(column: pa.Array, rows: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        return column.dictionary.take(column.indices.take(rows))
    return column.take(rows)


def _binary(values: list[pa.Buffer]) -> pa.Array:
    offsets = np.cumsum([0, *(value.size for value in values)])
    if offsets[-1] < 2**31:
        return pa.Array.from_buffers(pa.binary(), len(values), [
            None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(b"".join(values))])
    raise OverflowError("blocks of more than 2 GiB at once")
