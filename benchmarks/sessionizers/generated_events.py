"""Events for benchmarks, written in chunks of constant memory: visitors by Zipf's law, 14 days, three shapes.

`realistic`: sessions of 8 events on average with a heavy tail, a median of 20 seconds between their events.
`scattered`: uniform times, so that nearly every session has one event: the most output per event.
`one_user`:  as realistic, and one visitor who never pauses has half of all events.

A file holds a stretch of time, its rows in order of time: as a shop's log arrives.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

CASES = ("realistic", "scattered", "one_user")
START_US = 1_704_067_200_000_000  # 2024-01-01
SPAN_US = 14 * 86_400_000_000
EVENTS_PER_FILE = 1_000_000
EVENTS_PER_USER = 40
ZIPF = 0.8
ITEMS = 50_000
TYPES = ("view", "cart", "remove", "checkout", "purchase", "search")
TYPE_SHARES = (0.80, 0.09, 0.02, 0.02, 0.02, 0.05)


def write_events(directory: Path, case: str, num_events: int, *, seed: int = 7) -> None:
    """`num_events` events as Parquet files in `directory`: event_id, user_id, event_ts, event_type, item_id, price, and
    columns of EVENTS without news."""
    directory.mkdir(parents=True)
    numbers = range(-(-num_events // EVENTS_PER_FILE))
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(partial(_write_file, directory, case, num_events, seed), numbers))


def _write_file(directory: Path, case: str, num_events: int, seed: int, number: int) -> None:
    num_files = -(-num_events // EVENTS_PER_FILE)
    rows = min(EVENTS_PER_FILE, num_events - number * EVENTS_PER_FILE)
    rng = np.random.default_rng((seed, number))
    span = (START_US + SPAN_US * number // num_files, START_US + SPAN_US * (number + 1) // num_files)
    users, at = _draw(case, rng, rows, max(1, num_events // EVENTS_PER_USER), span)
    table = _table(users, at, number, rng)
    # a visitor's id stands once per row group, however many visitors there are; ids of events never repeat
    pq.write_table(table, directory / f"part-{number:05d}.parquet", compression="zstd", row_group_size=250_000,
                   use_dictionary=[name for name in table.column_names if name != "event_id"],
                   dictionary_pagesize_limit=16 << 20)


def _draw(case: str, rng: np.random.Generator, rows: int, num_users: int,
          span: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Users and times of `rows` events, by time."""
    if case == "scattered":
        users, at = rng.integers(0, num_users, rows), rng.integers(*span, rows)
    else:
        users, at = _draw_sessions(rng, rows, num_users, span)
        if case == "one_user":
            hot = slice(0, rows // 2)
            users[hot], at[hot] = num_users, rng.integers(*span, rows // 2)
    order = np.argsort(at, kind="stable")
    return users[order], at[order]


def _draw_sessions(rng: np.random.Generator, rows: int, num_users: int,
                   span: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    num_sessions = rows // 8 + 1
    lengths = np.maximum(1, np.round(rng.lognormal(1.45, 1.13, num_sessions)).astype(np.int64))  # mean 8, median 4
    session = np.sort(np.resize(np.repeat(np.arange(num_sessions), lengths), rows))
    pauses = np.minimum(rng.lognormal(3.0, 1.2, rows), 1700.0) * 1e6
    since = np.cumsum(pauses)
    first = np.r_[True, session[1:] != session[:-1]]
    since -= np.repeat(since[first], np.diff(np.r_[np.flatnonzero(first), rows]))
    cumulative = _zipf(num_users)
    visitor = np.searchsorted(cumulative, rng.random(num_sessions) * cumulative[-1])
    began = rng.integers(*span, num_sessions)
    return visitor[session], began[session] + since.astype(np.int64)


@lru_cache(maxsize=1)
def _zipf(num_users: int) -> np.ndarray:
    """Cumulative weights of visitors."""
    return np.cumsum(1.0 / np.arange(1, num_users + 1) ** ZIPF)


def _table(users: np.ndarray, at: np.ndarray, number: int, rng: np.random.Generator) -> pa.Table:
    rows = len(users)
    price = np.round(rng.lognormal(3.0, 1.0, ITEMS), 2)
    item = np.minimum(rng.pareto(0.9, rows) * 20, ITEMS - 1).astype(np.int64)
    type_ = rng.choice(len(TYPES), rows, p=TYPE_SHARES).astype(np.int8)
    numbers = pa.array(np.char.mod("i%05d", np.arange(ITEMS)))
    return pa.table({
        "event_id": hex_ids(np.arange(rows, dtype=np.uint64) + np.uint64(number * EVENTS_PER_FILE), 2),
        "user_id": hex_ids(users.astype(np.uint64), 4),
        "event_ts": pa.array(at, pa.timestamp("us", tz="UTC")),
        "arrived_at": pa.array(at, pa.timestamp("us", tz="UTC")),
        "event_type": pa.DictionaryArray.from_arrays(type_, list(TYPES)).cast(pa.string()),
        "item_id": pc.take(numbers, pa.array(item)),
        "price": pc.take(pa.array(price), pa.array(item)),
        "quantity": pa.array(np.ones(rows, dtype=np.int32)),
        "promotion": pa.array(np.zeros(rows, dtype=bool)),
        "tie_order": pa.array(np.zeros(rows, dtype=np.int32)),  # all engines order by time and id
    })


def hex_ids(numbers: np.ndarray, words: int) -> pa.Array:
    """16 hex digits per word that look like a hash's: no two numbers share them, and their order means nothing."""
    mixed = np.empty((len(numbers), words), dtype=np.uint64)
    state = numbers.copy()
    for word in range(words):  # splitmix64: a bijection, so ids stay apart
        state = state + np.uint64(0x9E3779B97F4A7C15)
        z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed[:, word] = state = z ^ (z >> np.uint64(31))
    digits = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
    raw = mixed.view(np.uint8)
    text = np.stack([digits[raw >> 4], digits[raw & 15]], axis=-1).reshape(-1)
    offsets = np.arange(len(numbers) + 1, dtype=np.int32) * (16 * words)
    return pa.StringArray.from_buffers(len(numbers), pa.py_buffer(offsets), pa.py_buffer(text))
