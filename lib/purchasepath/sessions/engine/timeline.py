"""Timelines as whole columns: the events of some visitors, visitor by visitor, each in order of (time, tie order, event
id)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from purchasepath.sessions.engine.shuffle import EVENT_COLUMNS, UserRuns


@dataclass(frozen=True)
class Timelines:
    """`order` has the place in `columns` of the first event, the second …; `user` (a number, rising with the ids in
    `user_ids`), `event_us` and `opens` (bool: a visitor's first event) are in that order already."""

    user_ids: pa.Array
    order: np.ndarray
    user: np.ndarray
    event_us: np.ndarray
    opens: np.ndarray
    columns: dict[str, pa.Array]

    def __len__(self) -> int:
        return len(self.order)

    def column(self, name: str, order: np.ndarray | None = None) -> pa.Array:
        """A column in order (or another one, of places in `columns`); nulls where nobody had it."""
        rows = self.order if order is None else order
        if name not in self.columns:
            return pa.nulls(len(rows), EVENT_COLUMNS.field(name).type)
        return self.columns[name].take(pa.array(rows))


def order_events(runs: UserRuns) -> Timelines:
    """The timelines of some runs. Only numbers are sorted; ids only where numbers do not tell two events apart."""
    names = pc.dictionary_encode(runs.user_ids)
    by_name = pc.sort_indices(names.dictionary)  # byte by byte, as Spark does
    number = np.empty(len(by_name), dtype=np.int64)
    number[by_name.to_numpy()] = np.arange(len(by_name))
    user = np.repeat(number[names.indices.to_numpy()], runs.sizes)
    at = runs.columns["event_us"].to_numpy() if len(user) else np.empty(0, dtype=np.int64)
    order = order_rows(user, at)
    user, at = user[order], at[order]
    same_user = user[1:] == user[:-1]
    order = _order_ties(runs, order, same_user & (at[1:] == at[:-1]))
    return Timelines(names.dictionary.take(by_name), order, user, at, np.r_[True, ~same_user][:len(order)],
                     runs.columns)


def order_rows(user: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Places of the rows by (user, at). One sort of one number each, where both fit into it."""
    if not len(at):
        return np.empty(0, dtype=np.int64)
    first = int(at.min())
    span = int(at.max()) - first + 1
    if (int(user.max()) + 1) * span < 2**63:
        # stable: parts are in order already; 64 bits, also where `user` is the index of a dictionary
        return np.argsort(user.astype(np.int64) * span + (at - first), kind="stable")
    return np.lexsort((at, user))


def _order_ties(runs: UserRuns, order: np.ndarray, tied: np.ndarray) -> np.ndarray:
    """`order` with the events that tie with their neighbours put in order of (tie order, event id)."""
    if not tied.any():
        return order
    rows, group = _groups(tied)
    tie_order = runs.columns["tie_order"].to_numpy()
    fixed = order.copy()
    fixed[rows] = order[rows][np.lexsort((tie_order[order[rows]], group))]
    return _order_by_id(runs, fixed, tied & (np.diff(tie_order[fixed]) == 0))


def _order_by_id(runs: UserRuns, order: np.ndarray, tied: np.ndarray) -> np.ndarray:
    if not tied.any():
        return order
    rows, group = _groups(tied)
    ids = runs.columns["event_id"].take(pa.array(order[rows]))
    rank = np.empty(len(rows), dtype=np.int64)
    rank[pc.sort_indices(ids).to_numpy()] = np.arange(len(rows))  # strings compare byte by byte, as in Spark
    fixed = order.copy()
    fixed[rows] = order[rows][np.lexsort((rank, group))]
    return fixed


def _groups(tied: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that tie with a neighbour, and the number of their group. `tied`: does the row tie with the next one?"""
    rows = np.flatnonzero(np.r_[tied, False] | np.r_[False, tied])
    return rows, np.cumsum(~np.r_[False, tied])[rows]
