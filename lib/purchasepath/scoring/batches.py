"""Arrow batches made ready for the model: cut to bounded sizes, and never without an event."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from purchasepath.datasets.manifest import NO_ITEM

MAX_PADDED_TOKENS = 65_536
"""Most rows x longest history of one batch: bounds the model's memory whatever the histories' lengths."""

_BLANK_EVENT = {"item": NO_ITEM, "type": 0, "gap": 0, "price": 0}
_BLANK_POINT = {"point": 0, "idle": 0}


def rechunk(batches: Iterable[pa.RecordBatch], max_rows: int, max_tokens: int) -> Iterator[pa.RecordBatch]:
    """The same rows in the same order, in batches of at most `max_rows` rows and `max_tokens` padded tokens.

    A row longer than `max_tokens` comes alone. Where the input's batches ended does not matter: what is
    left of one is carried into the next.
    """
    carried: pa.RecordBatch | None = None
    for batch in batches:
        rows = batch if carried is None else _joined(carried, batch)
        start = 0
        while start < rows.num_rows:
            size = _fitting(rows.slice(start, max_rows + 1), max_rows, max_tokens)
            if start + size == rows.num_rows:  # one more row might have fitted: wait for the next batch
                break
            yield rows.slice(start, size)
            start += size
        carried = rows.slice(start) if start < rows.num_rows else None
    if carried is not None:
        yield carried


def _fitting(rows: pa.RecordBatch, max_rows: int, max_tokens: int) -> int:
    """How many leading rows make one batch; at least 1."""
    lengths = np.diff(rows.column("item").offsets.to_numpy())[:max_rows]
    tokens = np.maximum.accumulate(lengths) * np.arange(1, len(lengths) + 1)
    return max(1, int((tokens <= max_tokens).sum()))


def _joined(first: pa.RecordBatch, second: pa.RecordBatch) -> pa.RecordBatch:
    return pa.Table.from_batches([first, second]).combine_chunks().to_batches()[0]


def with_blank_histories(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows; one without events gets a single event that says nothing (no item, padding type).

    The model is then asked what it expects of somebody it has not seen, which is what an empty history means.
    """
    empty_N = np.diff(rows.column("item").offsets.to_numpy()) == 0
    if not empty_N.any():
        return rows
    columns = {name: rows.column(name) for name in rows.schema.names}
    for name, blank in {**_BLANK_EVENT, **_BLANK_POINT}.items():
        columns[name] = _without_empty_lists(columns[name], blank)
    position_N = np.where(empty_N, 0, columns["point"].values.to_numpy())
    columns["point"] = pa.ListArray.from_arrays(columns["point"].offsets, pa.array(position_N))
    return pa.RecordBatch.from_pydict(columns)


def _without_empty_lists(lists: pa.ListArray, blank: float) -> pa.ListArray:
    """The same lists, `[blank]` in place of every empty one."""
    offsets = lists.offsets.to_numpy()
    values = lists.values.to_numpy()[offsets[0]:offsets[-1]]
    lengths_N = np.diff(offsets)
    filled_N = np.maximum(lengths_N, 1)
    filled = np.full(int(filled_N.sum()), blank, dtype=values.dtype)
    filled[np.repeat(lengths_N > 0, filled_N)] = values
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], filled_N.cumsum()]).astype(np.int32)), filled)
