"""Examples as a few flat arrays: what is cut, shuffled and joined between Parquet and the padded batch.

Legend: B examples, N events of all of them, P as-of points of all of them, F features, T labels.

    item [[7, 9], [4]]      ->  length_B [2, 1]    events_CN [[7, 9, 4], …]    one row per event column
    point [[1], [0]]        ->  count_B  [1, 1]    points_CP [[1, 0], …]       one row per point column

All event columns lie in one array, so that a gather or a copy is one call and not one per column: at 32 rows a batch
the calls are the cost. Floats lie there by their bits. Examples to be scored have no labels: of the event columns the
inputs alone, which come first, and T = 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa

EVENT_INPUTS: Mapping[str, type[np.generic]] = {
    "item": np.int32, "type": np.int32, "gap": np.float32, "price": np.float32,
}
EVENT_LABELS: Mapping[str, type[np.generic]] = {"target": np.int32, "outcome": np.int32}
EVENT_COLUMNS = {**EVENT_INPUTS, **EVENT_LABELS}
POINT_COLUMNS: Mapping[str, type[np.generic]] = {"point": np.int32, "idle": np.float32}
FEATURES, LABELS = "features", "labels"
INPUTS = (*EVENT_INPUTS, *POINT_COLUMNS, FEATURES)
"""Columns of EXAMPLES that a model reads."""
COLUMNS = (*INPUTS, *EVENT_LABELS, LABELS)
"""Columns of EXAMPLES that a model learns from."""
_EVENT_PLACES = {name: place for place, name in enumerate(EVENT_COLUMNS)}
_POINT_PLACES = {name: place for place, name in enumerate(POINT_COLUMNS)}


@dataclass(eq=False)  # not frozen: a batch is cut from many slices, and a frozen one takes five times as long to make
class Rows:
    """Examples in an order; never changed, slices share memory."""

    length_B: np.ndarray  # int64, events of each example
    count_B: np.ndarray  # int64, points of each example
    events_CN: np.ndarray  # int32, by EVENT_COLUMNS, or by EVENT_INPUTS
    points_CP: np.ndarray  # int32, by POINT_COLUMNS
    features_PF: np.ndarray  # float32
    labels_PT: np.ndarray  # float32, NaN where a task is not asked

    @property
    def rows(self) -> int:
        return len(self.length_B)

    @property
    def events(self) -> int:
        return self.events_CN.shape[1]

    @property
    def points(self) -> int:
        return len(self.features_PF)

    def event(self, column: str) -> np.ndarray:
        """The column's values of all events, in its own type."""
        return self.events_CN[_EVENT_PLACES[column]].view(EVENT_COLUMNS[column])

    def with_event(self, column: str, value_N: np.ndarray) -> Rows:
        """The same examples with other values in the column."""
        events_CN = self.events_CN.copy()
        events_CN[_EVENT_PLACES[column]].view(EVENT_COLUMNS[column])[:] = value_N
        return replace(self, events_CN=events_CN)

    @property
    def first_events(self) -> np.ndarray:
        """Places, among all events, of the first one of each example that has any."""
        return ends_of(self.length_B)[:-1][self.length_B > 0]

    @property
    def last_events(self) -> np.ndarray:
        """Places, among all events, of the last one of each example that has any."""
        return (ends_of(self.length_B)[1:] - 1)[self.length_B > 0]

    @property
    def point_events(self) -> np.ndarray:
        """Places, among all events, of the event that each point lies behind."""
        return np.repeat(ends_of(self.length_B)[:-1], self.count_B) + self.points_CP[_POINT_PLACES["point"]]

    def slice(self, start: int, stop: int) -> Rows:
        """Examples start … stop - 1."""
        events = slice(self._event_ends[start], self._event_ends[stop])
        points = slice(self._point_ends[start], self._point_ends[stop])
        return Rows(
            self.length_B[start:stop], self.count_B[start:stop],
            self.events_CN[:, events], self.points_CP[:, points], self.features_PF[points], self.labels_PT[points],
        )

    def take(self, order_B: np.ndarray) -> Rows:
        """The examples of these numbers, in this order."""
        length_B, count_B = self.length_B[order_B], self.count_B[order_B]
        event_N = _places(self._event_ends[:-1][order_B], length_B)
        point_P = _places(self._point_ends[:-1][order_B], count_B)
        return Rows(
            length_B, count_B,
            np.take(self.events_CN, event_N, axis=1), np.take(self.points_CP, point_P, axis=1),
            np.take(self.features_PF, point_P, axis=0), np.take(self.labels_PT, point_P, axis=0),
        )

    # begin of each example, and the end of the last one
    @cached_property
    def _event_ends(self) -> np.ndarray:
        return ends_of(self.length_B)

    @cached_property
    def _point_ends(self) -> np.ndarray:
        return ends_of(self.count_B)


def join_rows(parts: Sequence[Rows]) -> Rows:
    """The examples of all parts (at least one), one after the other."""
    if len(parts) == 1:
        return parts[0]
    return Rows(
        np.concatenate([p.length_B for p in parts]), np.concatenate([p.count_B for p in parts]),
        np.concatenate([p.events_CN for p in parts], axis=1), np.concatenate([p.points_CP for p in parts], axis=1),
        np.concatenate([p.features_PF for p in parts]), np.concatenate([p.labels_PT for p in parts]),
    )


def no_rows(num_features: int, num_labels: int) -> Rows:
    nothing_B: np.ndarray = np.zeros(0, np.int64)
    return Rows(
        nothing_B, nothing_B, np.zeros((len(EVENT_COLUMNS), 0), np.int32), np.zeros((len(POINT_COLUMNS), 0), np.int32),
        np.zeros((0, num_features), np.float32), np.zeros((0, num_labels), np.float32),
    )


def rows_from_arrow(data: pa.Table | pa.RecordBatch, num_features: int, num_labels: int | None = None) -> Rows:
    """All rows of `data`, which has the list columns of EXAMPLES (others are ignored); it may be sliced or chunked.

    Without `num_labels` the inputs alone are read. Raises ValueError on nulls and on lists of one row that
    should be equally long and are not.
    """
    event_columns = EVENT_INPUTS if num_labels is None else EVENT_COLUMNS
    ragged = {name: _ragged(data, name) for name in (*event_columns, *POINT_COLUMNS)}
    events, points = _stacked(ragged, event_columns, "item"), _stacked(ragged, POINT_COLUMNS, "point")
    event_ends_B, point_ends_B = (ragged[name][1] for name in ("item", "point"))
    return Rows(
        _lengths(event_ends_B), _lengths(point_ends_B), events, points,
        _matrix(data, FEATURES, point_ends_B, num_features), _matrix(data, LABELS, point_ends_B, num_labels or 0),
    )


def ends_of(length_B: np.ndarray) -> np.ndarray:
    """Running totals, 0 first."""
    ends: np.ndarray = np.zeros(len(length_B) + 1, np.int64)
    np.cumsum(length_B, out=ends[1:])
    return ends


def _places(start_B: np.ndarray, length_B: np.ndarray) -> np.ndarray:
    """start, start + 1, … start + length - 1 of every example."""
    ends = ends_of(length_B)
    return np.repeat(start_B - ends[:-1], length_B) + np.arange(ends[-1])


def _stacked(
    ragged: Mapping[str, tuple[np.ndarray, np.ndarray]], columns: Mapping[str, type[np.generic]], leader: str
) -> np.ndarray:
    """The columns' values as rows of one int32 array."""
    values, ends_B = ragged[leader]
    stacked: np.ndarray = np.empty((len(columns), len(values)), np.int32)
    for row, (name, dtype) in zip(stacked, columns.items(), strict=True):
        if not np.array_equal(ragged[name][1], ends_B):
            raise ValueError(f"lists of column {name} and of column {leader} differ in length")
        row.view(dtype)[:] = ragged[name][0]
    return stacked


def _matrix(data: pa.Table | pa.RecordBatch, name: str, point_ends_B: np.ndarray, width: int) -> np.ndarray:
    """The column's values, `width` for each point; a matrix without columns is not read."""
    count = int(point_ends_B[-1])
    if not width:
        return np.zeros((count, 0), np.float32)
    values, ends_B = _ragged(data, name)
    if not np.array_equal(ends_B, point_ends_B * width):
        raise ValueError(f"{len(values)} values of {name} for {count} points with {width} each")
    return values.astype(np.float32, copy=False).reshape(count, width)


def _lengths(ends_B: np.ndarray) -> np.ndarray:
    return np.diff(ends_B).astype(np.int64)


def _ragged(data: pa.Table | pa.RecordBatch, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(values of all rows one after the other, where each row's end, 0 first) of a list column."""
    array = data.column(name)
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()  # which copies even one chunk
    if len(array) == 0:
        return np.empty(0, np.float32), np.zeros(1, np.int32)
    offsets = array.offsets.to_numpy()  # of the slice, into the unsliced values
    values = array.values[offsets[0]:offsets[-1]]
    if array.null_count or values.null_count:
        raise ValueError(f"column {name} has null lists or null elements; EXAMPLES allows none")
    return values.to_numpy(), offsets - offsets[0]
