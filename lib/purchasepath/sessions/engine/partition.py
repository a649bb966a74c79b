"""The partitioning of events into buckets: visitors by hash, the timelines of heavy visitors (skew) by ranges of time.

Finding heavy visitors takes a count of events per visitor, and a sample of their times chosen by a hash. What is
found decides only where rows are worked on, never what becomes of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyspark.sql.functions as F

from purchasepath.sessions.engine.boundaries import GAP
from purchasepath.sessions.engine.chunks import Border
from purchasepath.sessions.engine.hashing import hash_ids, mix, places, spark_hash
from purchasepath.sessions.engine.source import Source, Work, gather

BUCKET_EVENTS = 500_000
"""Events sorted and cut together, about. A visitor with more is heavy: the timeline is cut into chunks of as many."""

_MOST_HEAVY = 4000
_MAX_SHARE = 1 / _MOST_HEAVY
"""A visitor with a smaller share is never heavy, so that chunks stay few enough for one table, however large N is."""
_COUNTED_FROM = 32
"""Events of a visitor in one task below which they are not told: nobody becomes heavy by as few."""
_TIMES_PER_CHUNK = 64
"""Of a visitor's chunk, about so many times are told, to find borders between the chunks."""


def heavy_limit(num_events: int, bucket_events: int = BUCKET_EVENTS) -> int:
    """Of `num_events` events, how many one visitor may have: beyond, the timeline is cut in chunks of about as many."""
    return max(bucket_events, int(num_events * _MAX_SHARE))


@dataclass(frozen=True)
class HeavyUser:
    """A visitor whose timeline is cut in several chunks, at `borders`."""

    user_id: str
    borders: tuple[Border, ...] = ()


@dataclass(frozen=True)
class Partitioner:
    """`num_buckets` by hash, and one further bucket per chunk of a heavy visitor.

    A bucket's `name` is a number that Spark's hash partitioning deals to the tasks in turn.
    """

    num_buckets: int
    num_tasks: int
    heavy: tuple[HeavyUser, ...] = ()

    def first_chunk(self, user: HeavyUser) -> int:
        """Bucket of the visitor's first chunk; the others follow."""
        before = self.heavy[:self.heavy.index(user)]
        return self.num_buckets + sum(len(other.borders) + 1 for other in before)

    @cached_property
    def names(self) -> np.ndarray:
        """Name of every bucket (int32): `hash(names[n])` falls into partition n modulo `num_tasks`."""
        needed = self.num_buckets + sum(len(user.borders) + 1 for user in self.heavy)
        rounds, drawn = -(-needed // self.num_tasks), 0
        while True:
            drawn += self.num_tasks * (rounds + 16)
            partition = spark_hash(np.arange(drawn)) % self.num_tasks
            order = np.argsort(partition, kind="stable")
            firsts = np.searchsorted(partition[order], np.arange(self.num_tasks))
            if np.bincount(partition, minlength=self.num_tasks).min() >= rounds:
                return order[firsts + np.arange(rounds)[:, None]].reshape(-1)[:needed].astype(np.int32)

    def closing_reasons(self) -> dict[int, int]:
        """Name of a chunk's bucket → why its last session ended: for the reason the next chunk began."""
        return {int(self.names[self.first_chunk(user) + n]): border.reason
                for user in self.heavy for n, border in enumerate(user.borders)}

    def assign(self, events: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """(bucket of every row, order of rows by bucket and visitor). `events`: user_id, event_us, tie_order, event_id;
        one chunk per column."""
        users = events["user_id"].chunk(0)
        hashes = hash_ids(users)
        # by the upper half of the hash, so that order by hash is order by bucket
        bucket = ((hashes >> np.uint64(32)) * np.uint64(self.num_buckets) >> np.uint64(32)).astype(np.int64)
        order = np.argsort(hashes, kind="stable")
        if not self.heavy:
            return bucket, order
        place = places(users, pa.array([user.user_id for user in self.heavy], pa.string()))
        theirs = np.flatnonzero(place >= 0)
        for number in np.unique(place[theirs]):
            user, rows = self.heavy[number], theirs[place[theirs] == number]
            bucket[rows] = self.first_chunk(user) + chunk_numbers(events, rows, user.borders)
        return bucket, np.r_[order[place[order] < 0], theirs[np.argsort(bucket[theirs], kind="stable")]]


def chunk_numbers(events: pa.Table, rows: np.ndarray, borders: tuple[Border, ...]) -> np.ndarray:
    """How many borders each of `rows` has reached; no two borders have the same time."""
    border_us = np.array([b.event_us for b in borders], dtype=np.int64)
    at = events["event_us"].to_numpy()[rows]
    number = np.searchsorted(border_us, at, side="right")
    level = np.flatnonzero((number > 0) & (border_us[number - 1] == at)) if len(borders) else np.empty(0, np.int64)
    if len(level):
        there = [borders[n - 1] for n in number[level]]
        border_ids = pa.array([border.event_id for border in there], pa.string())
        border_ties = np.array([border.tie_order for border in there])
        ties = events["tie_order"].to_numpy()[rows[level]]
        earlier = pc.less(events["event_id"].take(pa.array(rows[level])).combine_chunks(), border_ids)
        number[level] -= (ties < border_ties) | (
            (ties == border_ties) & earlier.to_numpy(zero_copy_only=False))
    return number


def plan_partitions(events: Source, num_tasks: int, bucket_events: int = BUCKET_EVENTS) -> Partitioner:
    """The partitioner of `events`, with provisional borders: times that divide each heavy visitor's events about
    evenly. Where somebody may be heavy, reads every event's visitor and time."""
    if events.most_of_visitor is not None and events.most_of_visitor <= bucket_events:
        return Partitioner(max(num_tasks, -(-(events.num_rows or 0) // bucket_events)), num_tasks)
    one_in = max(1, bucket_events // _TIMES_PER_CHUNK)
    told = events.map(_count_users(min(_COUNTED_FROM, one_in), one_in), ("user_id", "event_us"),
                      "user_id string, num_events bigint, event_us bigint", roughly=True)
    known, many = F.col("user_id").isNotNull(), F.col("num_events") > bucket_events
    # summed as numbers first, for all who have many events in a task: lists of times are made for few
    summed = told.repartition("user_id").groupBy("user_id", "event_us").agg(F.sum("num_events").alias("num_events"))
    by_user = summed.where(~known | many | F.col("event_us").isNotNull()).groupBy("user_id").agg(
        F.max("num_events").alias("num_events"), F.collect_list("event_us").alias("times"))
    heaviest = F.collect_list(F.when(known & many, F.struct("num_events", "user_id", "times")))
    found = by_user.agg(F.max(F.when(~known, F.col("num_events"))).alias("total"),
                        F.slice(F.sort_array(heaviest, asc=False), 1, _MOST_HEAVY).alias("heaviest")).first()
    assert found is not None
    total = found["total"] or 0
    limit = heavy_limit(total, bucket_events)
    heavy = tuple(HeavyUser(row["user_id"], _borders(row["times"], -(-row["num_events"] // limit)))
                  for row in found["heaviest"] if row["num_events"] > limit)
    return Partitioner(max(num_tasks, -(-total // bucket_events)), num_tasks, heavy)


def _borders(times: list[int], chunks: int) -> tuple[Border, ...]:
    """Between about equal shares of a sample of times."""
    sample = np.sort(np.array(times, dtype=np.int64))
    at = sample[[len(sample) * n // chunks for n in range(1, chunks)]] if len(sample) else sample
    return tuple(Border(int(us), 0, "", GAP) for us in np.unique(at))


def _count_users(counted_from: int, one_in: int) -> Work:
    """Per task: the number of events of each visitor who has many, of all events (user_id null); and the times of some
    events, one in so many by a hash of the time."""

    def count(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        total, by_user = 0, pa.table({"user_id": pa.array([], pa.string()), "n": pa.array([], pa.int64())})
        for table in gather(batches):
            total += len(table)
            counted = pc.value_counts(table["user_id"].chunk(0))
            part = pa.table({"user_id": counted.field(0).cast(pa.string()), "n": counted.field(1)})
            joined = pa.concat_tables([by_user, part]).group_by("user_id").aggregate([("n", "sum")])
            by_user = joined.rename_columns(["user_id", "n"])
            some = table.filter(pa.array(mix(table["event_us"].to_numpy()) % np.uint64(one_in) == 0))
            yield from _told(some["user_id"].cast(pa.string()), event_us=some["event_us"])
        many = by_user.filter(pc.greater_equal(by_user["n"], counted_from))
        yield from _told(many["user_id"], num_events=many["n"])
        yield from _told(pa.nulls(1, pa.string()), num_events=pa.array([total]))

    return count


def _told(user_ids: pa.Array, **numbers: pa.Array) -> list[pa.RecordBatch]:
    columns = {name: numbers.get(name, pa.nulls(len(user_ids), pa.int64())) for name in ("num_events", "event_us")}
    return list(pa.table({"user_id": user_ids, **columns}).to_batches())
