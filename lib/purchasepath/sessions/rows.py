"""Rows of SESSIONS (all but the id) from timelines and their cuts, by whole columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from purchasepath.config import Sessions
from purchasepath.sessions.cuts import REASONS, Cuts
from purchasepath.sessions.timeline import Timelines
from purchasepath.tables.catalog import SESSIONS

DAY_US = 86_400_000_000

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


def sessions_schema() -> pa.Schema:
    """Arrow types of the rows: SESSIONS without `session_id`."""
    whole = SESSIONS.arrow_schema()
    return whole.remove(whole.get_field_index("session_id"))


def session_rows(events: Timelines, cuts: Cuts, config: Sessions) -> pa.Table:
    """One row per session, in order of the timelines."""
    bounds = np.r_[cuts.starts, len(events)]
    session = np.repeat(np.arange(len(cuts.starts)), np.diff(bounds))
    columns = {**_times(events, bounds), **_counts(events, bounds, session), **_flags(events, bounds, session, config)}
    columns |= {name: _first_known(events.table[name].chunk(0), bounds) for name in FIRST_KNOWN}
    columns["user_id"] = events.table["user_id"].chunk(0).take(pa.array(cuts.starts))
    columns["cut_reason"] = pa.array(REASONS).take(pa.array(cuts.reasons))
    columns["revenue"] = _revenue(events, session, len(cuts.starts))
    columns |= _arrays(events, bounds, session)
    schema = sessions_schema()
    return pa.table([_typed(columns[field.name], field.type) for field in schema], schema=schema)


def _typed(column: pa.Array | np.ndarray, type_: pa.DataType) -> pa.Array:
    return column if isinstance(column, pa.Array) and column.type == type_ else pa.array(column).cast(type_)


def _times(events: Timelines, bounds: np.ndarray) -> dict[str, np.ndarray]:
    first, last = events.event_us[bounds[:-1]], events.event_us[bounds[1:] - 1]
    day = first // DAY_US
    return {"started_at": first, "ended_at": last, "duration_s": (last - first) / 1e6,
            "session_date": day.astype(np.int32)}


def _counts(events: Timelines, bounds: np.ndarray, session: np.ndarray) -> dict[str, np.ndarray]:
    num_sessions = len(bounds) - 1
    types = pc.dictionary_encode(events.table["event_type"].chunk(0))
    words = types.dictionary.to_pylist()
    table = np.bincount(session * len(words) + types.indices.to_numpy(), minlength=num_sessions * len(words))
    of_type = dict(zip(words, table.reshape(num_sessions, len(words)).T, strict=True))
    nothing = np.zeros(num_sessions, dtype=np.int64)
    return {"num_events": np.diff(bounds), "num_items": _num_items(events, session, num_sessions),
            **{name: of_type.get(word, nothing) for name, word in COUNTS.items()}}


def _num_items(events: Timelines, session: np.ndarray, num_sessions: int) -> np.ndarray:
    items = pc.dictionary_encode(events.table["item_id"].chunk(0))
    known = items.is_valid().to_numpy(zero_copy_only=False)
    codes = items.indices.fill_null(0).to_numpy()[known].astype(np.int64)
    pairs = np.sort(session[known] * max(1, len(items.dictionary)) + codes)
    different = pairs[np.r_[True, pairs[1:] != pairs[:-1]]] if len(pairs) else pairs
    return np.bincount(different // max(1, len(items.dictionary)), minlength=num_sessions)


def _revenue(events: Timelines, session: np.ndarray, num_sessions: int) -> np.ndarray:
    """Price x quantity over purchases. `bincount` adds in event order, so the last digit is always the same."""
    bought = pc.equal(events.table["event_type"].chunk(0), "purchase")
    rows = np.flatnonzero(bought.to_numpy(zero_copy_only=False))
    price, quantity = (events.table[name].chunk(0).take(pa.array(rows)) for name in ("price", "quantity"))
    paid = pc.fill_null(pc.multiply(price, quantity.cast(pa.float64())), 0.0).to_numpy()
    return np.bincount(session[rows], weights=paid, minlength=num_sessions)


def _flags(events: Timelines, bounds: np.ndarray, session: np.ndarray, config: Sessions) -> dict[str, np.ndarray]:
    """`promotion`: some event was on promotion. `is_bot`: too many events, in some window or at all; a window of
    `bot_window_seconds` includes both its ends."""
    promoted = events.table["promotion"].chunk(0).to_numpy(zero_copy_only=False)
    is_bot = np.diff(bounds) >= config.bot_max_events
    reach, window_us = config.bot_events_per_window - 1, round(config.bot_window_seconds * 1_000_000)
    crowded = (session[reach:] == session[:-reach]) & (
        events.event_us[reach:] - events.event_us[:-reach] <= window_us)
    is_bot[session[:-reach][crowded]] = True
    return {"promotion": np.logical_or.reduceat(promoted, bounds[:-1]) if len(promoted) else promoted,
            "is_bot": is_bot}


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


def _arrays(events: Timelines, bounds: np.ndarray, session: np.ndarray) -> dict[str, pa.Array]:
    """The parallel arrays: the ordered columns themselves, cut by offsets."""
    offsets = pa.array(bounds, pa.int32())
    since_start = pa.array(events.event_us - events.event_us[bounds[:-1]][session])
    columns = {"offset_us": since_start, **{name: events.table[name].chunk(0) for name in ARRAYS.values()
                                            if name in events.table.column_names}}
    schema = sessions_schema()
    return {name: pa.ListArray.from_arrays(offsets, columns[of], type=schema.field(name).type)
            for name, of in ARRAYS.items()}
