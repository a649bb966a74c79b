"""Dirty ranges: which parts of visitors' timelines have to be built again after EVENTS has changed.

A *chain* is what pauses of at most the gap link: here, of a visitor's stored sessions and changed events. Whatever
was or now is one chain of events lies within one of these, and no session depends on an event of another chain.
Within a chain sessions are cut from left to right, and a session's first event is all that its beginning depends
on. So a chain with a changed event is built again from the last stored session that began before the first changed
event, to its end:

```
stored sessions     [---a---][--b--]   [----c----]           [--d--]
changed events                      x        x
pause > gap                                         |
built again                  [--------------------]           a and d stay, b and c are retired
```
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame

from purchasepath.config import Sessions
from purchasepath.sessions.engine.hashing import hash_ids
from purchasepath.sessions.engine.partition import Partitioner
from purchasepath.sessions.engine.rebuild_scope import SCOPE_DDL, scope_column, scope_of
from purchasepath.sessions.engine.rules import gap_us, is_late, max_us
from purchasepath.sessions.engine.shuffle import BLOCK_DDL, SPAN_COLUMNS, UserRuns, blocks_of, runs_in
from purchasepath.sessions.engine.source import Source, gather
from purchasepath.sessions.engine.timeline import order_rows
from purchasepath.times import DAY_US

FOUND_DDL = f"scope {SCOPE_DDL} NOT NULL, ranges binary NOT NULL"
"""The dirty ranges of a bucket of visitors: a stream of Arrow columns, and their scope."""
_TIMES = np.iinfo(np.int64)
_CHANGES_PER_BUCKET = 250_000


@dataclass(frozen=True)
class Changed:
    """Counts and days of the changed events, and whose they are."""

    num_events: int
    days: set[date]
    """Days of SESSIONS in which nearly every range ends."""
    late_days: set[date]
    """Days of the changed events that are too late for sessions."""
    visitors: OfVisitors
    """Those of the others."""


@dataclass(frozen=True)
class OfVisitors:
    """Keeps rows of the visitors with these hashes (in order), and (rarely) of somebody else."""

    hashes: np.ndarray
    columns = ("user_id",)

    def __call__(self, rows: pa.RecordBatch) -> np.ndarray:
        users = rows["user_id"]
        if pa.types.is_dictionary(users.type):
            return self._among(users.dictionary)[users.indices.to_numpy()]
        return self._among(users)

    def _among(self, ids: pa.Array) -> np.ndarray:
        hashes = hash_ids(ids)
        at = np.searchsorted(self.hashes, hashes)
        there = at < len(self.hashes)
        there[there] = self.hashes[at[there]] == hashes[there]
        return there


def scan_changes(changes: Source, config: Sessions) -> Changed:
    """One pass over the changed events; collects a row per task, with eight bytes for each of its visitors."""
    before_us, after_us = 2 * (gap_us(config) + max_us(config)), gap_us(config)

    def look(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        num_events, days, late_days, hashes = 0, set[int](), set[int](), [np.empty(0, dtype=np.uint64)]
        for events in gather(batches):
            num_events += len(events)
            late = is_late(events["arrival_lag_us"].to_numpy(), config)
            late_days.update(events["event_us"].to_numpy()[late] // DAY_US)
            timely = events.filter(pa.array(~late)) if late.any() else events
            at = timely["event_us"].to_numpy()
            firsts = (at - before_us) // DAY_US
            for first in np.unique(firsts):  # a few
                days.update(range(first, (at[firsts == first].max() + after_us) // DAY_US + 1))
            hashes.extend(np.unique(hash_ids(pc.unique(users))) for users in timely["user_id"].chunks)
        told = (pa.array([sorted(found)], pa.list_(pa.date32())) for found in (days, late_days))
        yield pa.record_batch([pa.array([num_events]), *told, pa.array([np.unique(np.concatenate(hashes)).tobytes()])],
                              names=["num_events", "days", "late_days", "hashes"])

    found = changes.map(look, ("user_id", "event_us", "arrival_lag_us"), (
        "num_events bigint NOT NULL, days array<date> NOT NULL, late_days array<date> NOT NULL, "
        "hashes binary NOT NULL")).collect()
    days, late_days = ({day for row in found for day in row[name]} for name in ("days", "late_days"))
    hashes = np.frombuffer(b"".join(row["hashes"] for row in found), dtype=np.uint64)
    return Changed(sum(row["num_events"] for row in found), days, late_days, OfVisitors(np.unique(hashes)))


def find_dirty_ranges(changes: Source, sessions: Source, num_changes: int, config: Sessions) -> DataFrame:
    """The dirty ranges (`FOUND_DDL`, a row per bucket of visitors).

    `changes` has user_id and event_ts of every event added or taken out; of SESSIONS a few narrow columns are read.
    Exact if `sessions` holds all days that their `RebuildScope` then names as needed.
    """
    num_tasks = int(changes.spark.conf.get("spark.sql.shuffle.partitions") or 1)
    partitioner = Partitioner(max(1, -(-num_changes // _CHANGES_PER_BUCKET)), num_tasks)
    pause_us = gap_us(config)

    def pack(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for spans in gather(batches):
            bucket, order = partitioner.assign(spans)
            yield blocks_of(spans, partitioner.names[bucket], order, SPAN_COLUMNS)

    def pack_bursts(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return pack(bursts_of(events, pause_us) for events in gather(batches))

    def link(_: tuple[pa.Scalar, ...], group: pa.Table) -> pa.Table:
        return pack_ranges(dirty_ranges_of(runs_in(group, SPAN_COLUMNS), pause_us), config)

    bursts = changes.map(pack_bursts, ("user_id", "event_us"), BLOCK_DDL)
    stored = sessions.map(pack, ("user_id", *SPAN_COLUMNS.names), BLOCK_DDL)
    return bursts.unionByName(stored).groupBy("bucket").applyInArrow(link, FOUND_DDL)


def pack_ranges(ranges: pa.Table, config: Sessions) -> pa.Table:
    """A row (`FOUND_DDL`) of the ranges of some visitors, in order of visitor."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, ranges.schema) as stream:
        stream.write_table(ranges)
    return pa.table({"scope": scope_column(scope_of(ranges, config)),
                     "ranges": pa.array([sink.getvalue().to_pybytes()], pa.binary())})


def unpack_ranges(found: pa.ChunkedArray) -> pa.Table:
    """The ranges in some values of `ranges`, at least one."""
    return pa.concat_tables([pa.ipc.open_stream(one.as_buffer()).read_all() for one in found]).combine_chunks()


def bursts_of(events: pa.Table, pause_us: int) -> pa.RecordBatch:
    """Spans of a visitor's events that pauses of at most `pause_us` link. `events`: user_id and event_us.

    Several times fewer rows than events pass the shuffle, and few of a visitor who has very many.
    """
    users = events["user_id"].chunk(0)
    if not pa.types.is_dictionary(users.type):
        users = users.dictionary_encode()
    user, at = users.indices.to_numpy(), events["event_us"].to_numpy()
    order = order_rows(user, at)
    user, at = user[order], at[order]
    begins = np.flatnonzero(np.r_[True, (user[1:] != user[:-1]) | (at[1:] - at[:-1] > pause_us)])
    ends = np.r_[begins[1:], len(at)]
    user_ids = pa.DictionaryArray.from_arrays(pa.array(user[begins]), users.dictionary)
    return pa.record_batch([user_ids, pa.array(at[begins]), pa.array(at[ends - 1]), pa.array(ends - begins)],
                           names=["user_id", "from_us", "to_us", "num_events"])


def dirty_ranges_of(spans: UserRuns, pause_us: int) -> pa.Table:
    """The ranges of some visitors, of all their spans: stored sessions, and bursts of changed events (without
    session_id). In order of visitor and time.

    A row has `user_id`, `from_us` and `to_us` (both inclusive), how many events changed in it or are in its stored
    sessions (`num_events`), and those sessions (`retired`: session_id, session_date, from_us).
    """
    users = pc.dictionary_encode(spans.user_ids)
    user = np.repeat(users.indices.to_numpy().astype(np.int64), spans.sizes)
    from_us, to_us, num_events = (spans.columns[name].to_numpy() for name in ("from_us", "to_us", "num_events"))
    order = order_rows(user, from_us)  # spans with the same beginning are linked in any order
    user, from_us, to_us, num_events = (column[order] for column in (user, from_us, to_us, num_events))
    ids = spans.columns["session_id"].take(pa.array(order)) if "session_id" in spans.columns else \
        pa.nulls(len(order), pa.string())
    stored = ids.is_valid().to_numpy(zero_copy_only=False)

    first = np.r_[True, user[1:] != user[:-1]]
    pause = np.r_[0, from_us[1:] - _latest(user, to_us)[:-1]]
    opens = first | (pause > pause_us)
    # where two sessions share an instant, only their ids tell whose event it is: no range begins there
    apart = first | (pause > 0)
    chain, starts = np.cumsum(opens) - 1, np.flatnonzero(opens)
    changed_us = np.minimum.reduceat(np.where(stored, _TIMES.max, from_us), starts)
    begun_us = np.where(stored & apart & (from_us < changed_us[chain]), from_us, _TIMES.min)
    begun_us = np.maximum(np.maximum.reduceat(begun_us, starts), from_us[starts])

    changed = changed_us < _TIMES.max
    retired = stored & (from_us >= begun_us[chain]) & changed[chain]
    events = np.add.reduceat(np.where(retired | ~stored, num_events, 0), starts)
    day = pa.array((from_us[retired] // DAY_US).astype(np.int32)).cast(pa.date32())
    sessions = pa.StructArray.from_arrays(
        [ids.filter(pa.array(retired)), day, pa.array(from_us[retired])],
        names=["session_id", "session_date", "from_us"])
    bounds = np.r_[0, np.cumsum(np.bincount(chain[retired], minlength=len(starts))[changed])]
    return pa.table({
        "user_id": users.dictionary.take(pa.array(user[starts][changed])),
        "from_us": begun_us[changed], "to_us": np.maximum.reduceat(to_us, starts)[changed],
        "num_events": events[changed],
        "retired": pa.ListArray.from_arrays(pa.array(bounds, pa.int32()), sessions),
    })


def _latest(user: np.ndarray, us: np.ndarray) -> np.ndarray:
    """For every row the latest `us` up to it of the same user; `user` rises."""
    by_time = np.argsort(us, kind="stable")
    rank = np.empty(len(us), dtype=np.int64)
    rank[by_time] = np.arange(len(us))
    return us[by_time[np.maximum.accumulate(user * len(us) + rank) % len(us)]]
