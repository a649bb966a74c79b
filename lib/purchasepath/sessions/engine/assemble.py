"""SESSIONS assembled from timelines and their cuts, by whole columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from purchasepath.config import Sessions
from purchasepath.sessions.engine.boundaries import REASONS, Cuts
from purchasepath.sessions.engine.rules import session_ids
from purchasepath.sessions.engine.timeline import Timelines
from purchasepath.tables.catalog import SESSIONS
from purchasepath.times import DAY_US

ARRAYS = {
    "event_ids": "event_id", "event_types": "event_type", "item_ids": "item_id", "categories": "category",
    "prices": "price", "quantities": "quantity", "promotions": "promotion", "channels": "channel",
    "offsets_us": "offset_us", "arrival_lags_us": "arrival_lag_us",
}
"""Array column of SESSIONS → what it holds of each event."""
COUNTS = {
    "num_searches": "search", "num_views": "view", "num_carts": "cart", "num_removes": "remove",
    "num_checkouts": "checkout", "num_purchases": "purchase",
}
FIRST_KNOWN = ("channel", "campaign", "device", "source_session")


def session_rows(timelines: Timelines, cuts: Cuts, config: Sessions) -> pa.Table:
    """One row per session, by (session_date, user_id, started_at)."""
    schema = SESSIONS.arrow_schema()
    if not len(timelines):
        return schema.empty_table()
    sessions = _by_day(timelines, cuts)
    columns = {**_times(sessions), **_counts(sessions), **_flags(sessions, config)}
    columns |= {name: _first_known(sessions.columns[name], sessions.bounds) for name in FIRST_KNOWN}
    columns["user_id"] = sessions.user_ids
    columns["session_id"] = _session_ids(sessions)
    columns["first_tie_order"] = sessions.columns["tie_order"].take(pa.array(sessions.bounds[:-1]))
    columns["cut_reason"] = pa.array(REASONS).take(pa.array(sessions.reasons))
    columns["revenue"] = _revenue(sessions)
    columns |= _arrays(sessions, schema)
    return pa.table([_typed(columns[field.name], field.type) for field in schema], schema=schema)


class _Sessions:
    """Sessions in their final order: `bounds` (where each begins, and the end) over events in that same order."""

    def __init__(self, timelines: Timelines, order: np.ndarray, starts: np.ndarray, sizes: np.ndarray,
                 reasons: np.ndarray) -> None:
        self.bounds = np.r_[0, np.cumsum(sizes)]
        self.sizes, self.reasons = sizes, reasons
        self.number = np.repeat(np.arange(len(sizes)), sizes)
        """Session of every event."""
        self.event_us = timelines.event_us[order]
        self.user_ids = timelines.user_ids.take(pa.array(timelines.user[starts]))
        place = timelines.order[order]
        wanted = dict.fromkeys([*ARRAYS.values(), *FIRST_KNOWN, "tie_order", "crawler"])
        self.columns = {name: timelines.column(name, place) for name in wanted if name != "offset_us"}

    def __len__(self) -> int:
        return len(self.sizes)


def _by_day(timelines: Timelines, cuts: Cuts) -> _Sessions:
    sizes = np.diff(np.r_[cuts.starts, len(timelines)])
    by_day = np.argsort((timelines.event_us[cuts.starts] // DAY_US).astype(np.int32), kind="stable")
    starts, sizes = cuts.starts[by_day], sizes[by_day]
    begins = np.cumsum(sizes) - sizes
    order = np.arange(len(timelines)) + np.repeat(starts - begins, sizes)
    return _Sessions(timelines, order, starts, sizes, cuts.reasons[by_day])


def _typed(column: pa.Array | np.ndarray, type_: pa.DataType) -> pa.Array:
    return column if isinstance(column, pa.Array) and column.type == type_ else pa.array(column).cast(type_)


def _times(sessions: _Sessions) -> dict[str, np.ndarray]:
    first, last = sessions.event_us[sessions.bounds[:-1]], sessions.event_us[sessions.bounds[1:] - 1]
    day = first // DAY_US
    return {"started_at": first, "ended_at": last, "duration_s": (last - first) / 1e6,
            "session_date": day.astype(np.int32)}


def _session_ids(sessions: _Sessions) -> pa.Array:
    firsts = sessions.bounds[:-1]
    event_ids = sessions.columns["event_id"].take(pa.array(firsts))
    told = zip(sessions.user_ids.to_pylist(), sessions.event_us[firsts].tolist(), event_ids.to_pylist(), strict=True)
    return pa.array(session_ids(told), pa.string())


def _counts(sessions: _Sessions) -> dict[str, np.ndarray]:
    types = pc.dictionary_encode(sessions.columns["event_type"])
    words = types.dictionary.to_pylist()
    table = np.bincount(sessions.number * len(words) + types.indices.to_numpy(), minlength=len(sessions) * len(words))
    of_type = dict(zip(words, table.reshape(len(sessions), len(words)).T, strict=True))
    nothing = np.zeros(len(sessions), dtype=np.int64)
    return {"num_events": sessions.sizes, "num_items": _num_items(sessions),
            **{name: of_type.get(word, nothing) for name, word in COUNTS.items()}}


def _num_items(sessions: _Sessions) -> np.ndarray:
    items = pc.dictionary_encode(sessions.columns["item_id"])
    known = items.is_valid().to_numpy(zero_copy_only=False)
    codes = items.indices.fill_null(0).to_numpy()[known].astype(np.int64)
    pairs = np.sort(sessions.number[known] * max(1, len(items.dictionary)) + codes)
    different = pairs[np.r_[True, pairs[1:] != pairs[:-1]]] if len(pairs) else pairs
    return np.bincount(different // max(1, len(items.dictionary)), minlength=len(sessions))


def _revenue(sessions: _Sessions) -> np.ndarray:
    """Price x quantity over purchases. `bincount` adds in event order, so the last digit is always the same."""
    bought = pc.equal(sessions.columns["event_type"], "purchase")
    rows = np.flatnonzero(bought.to_numpy(zero_copy_only=False))
    price, quantity = (sessions.columns[name].take(pa.array(rows)) for name in ("price", "quantity"))
    paid = pc.fill_null(pc.multiply(price, quantity.cast(pa.float64())), 0.0).to_numpy()
    return np.bincount(sessions.number[rows], weights=paid, minlength=len(sessions))


def _flags(sessions: _Sessions, config: Sessions) -> dict[str, np.ndarray]:
    """`promotion`: some event was on promotion. `is_bot`: an agent named itself a crawler, or there were too many
    requests, in some window or at all; a window of `bot_window_seconds` includes both its ends."""
    promoted = sessions.columns["promotion"].to_numpy(zero_copy_only=False)
    is_bot = np.zeros(len(sessions), dtype=bool)
    is_bot[sessions.number[sessions.columns["crawler"].is_valid().to_numpy(zero_copy_only=False)]] = True
    number, at = _requests(sessions)
    is_bot |= np.bincount(number, minlength=len(sessions)) >= config.bot_max_events
    reach, window_us = config.bot_events_per_window - 1, round(config.bot_window_seconds * 1_000_000)
    crowded = (number[reach:] == number[:-reach]) & (at[reach:] - at[:-reach] <= window_us)
    is_bot[number[:-reach][crowded]] = True
    return {"promotion": np.logical_or.reduceat(promoted, sessions.bounds[:-1]), "is_bot": is_bot}


def _requests(sessions: _Sessions) -> tuple[np.ndarray, np.ndarray]:
    """Session and time of every request. Events of one instant are one: an order's lines come together."""
    number, at = sessions.number, sessions.event_us
    new = np.r_[True, (number[1:] != number[:-1]) | (at[1:] != at[:-1])]
    return number[new], at[new]


def _first_known(column: pa.Array, bounds: np.ndarray) -> pa.Array:
    """Per session the column's first value that is not null."""
    if column.null_count == len(column):
        return pa.nulls(len(bounds) - 1, column.type)
    if column.null_count == 0:
        return column.take(pa.array(bounds[:-1]))
    known = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    at = np.searchsorted(known, bounds[:-1])
    row = known[np.minimum(at, len(known) - 1)]
    missing = (at == len(known)) | (row >= bounds[1:])
    return column.take(pa.array(row, mask=missing))


def _arrays(sessions: _Sessions, schema: pa.Schema) -> dict[str, pa.Array]:
    """The parallel arrays: the ordered columns themselves, cut by offsets."""
    offsets = pa.array(sessions.bounds, pa.int32())
    since_start = pa.array(sessions.event_us - sessions.event_us[sessions.bounds[:-1]][sessions.number])
    columns = {"offset_us": since_start, **sessions.columns}
    return {name: pa.ListArray.from_arrays(offsets, columns[of], type=schema.field(name).type)
            for name, of in ARRAYS.items()}
