"""Timelines as whole columns: the events of some visitors, visitor by visitor, each in order of (time, event id)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class Timelines:
    """`table` in order, one chunk per column; `event_us` is its column of times."""

    table: pa.Table
    event_us: np.ndarray
    opens: np.ndarray
    """bool per event: it is its visitor's first."""

    def __len__(self) -> int:
        return len(self.event_us)

    def numbers(self, name: str) -> np.ndarray:
        """A column of numbers without nulls."""
        return self.table[name].chunk(0).to_numpy(zero_copy_only=False)


def order_events(table: pa.Table) -> Timelines:
    """The events of `table`, columns `user_hash`, `user_id`, `event_us`, `event_id` and any others.

    Visitors follow each other by hash: numbers sort several times faster than names. Two visitors with one hash
    and two events at one time are rare, looked for, and put in order by their names.
    """
    whole = table.combine_chunks()
    hashes, at = (whole[name].to_numpy() for name in ("user_hash", "event_us"))
    order = np.lexsort((at, hashes))
    hashes, at = hashes[order], at[order]
    same_hash = hashes[1:] == hashes[:-1]
    order = _order_ties(whole, order, same_hash & (at[1:] == at[:-1]))
    found = whole.take(pa.array(order))
    users = found["user_id"].chunk(0) if len(found) else pa.array([], pa.string())
    opens = np.ones(len(order), dtype=bool)
    if len(order):
        opens[1:] = pc.not_equal(users[1:], users[:-1]).to_numpy(zero_copy_only=False)
    if (opens[1:] & same_hash).any():
        return order_events(whole.set_column(whole.schema.get_field_index("user_hash"), "user_hash", _ranks(whole)))
    return Timelines(found, at, opens)


def _order_ties(table: pa.Table, order: np.ndarray, tied: np.ndarray) -> np.ndarray:
    """`order` with the rows that tie with their neighbours put in order of event id."""
    if not tied.any():
        return order
    rows = np.flatnonzero(np.r_[tied, False] | np.r_[False, tied])
    group = np.cumsum(~np.r_[False, tied])[rows]
    ids = table["event_id"].take(pa.array(order[rows]))
    rank = np.empty(len(rows), dtype=np.int64)
    rank[pc.sort_indices(ids).to_numpy()] = np.arange(len(rows))  # strings compare byte by byte, as in Spark
    fixed = order.copy()
    fixed[rows] = order[rows][np.lexsort((rank, group))]
    return fixed


def _ranks(table: pa.Table) -> pa.Array:
    """A number per visitor that no two visitors share, in place of the hash."""
    return pc.dictionary_encode(table["user_id"].combine_chunks()).indices.cast(pa.int64())
