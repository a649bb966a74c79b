"""How events are spread over buckets: visitors by hash, the timelines of heavy visitors by stretches of time.

Finding heavy visitors takes a count of events per visitor, and a sample of their times chosen by a hash. What is
found decides only where rows are worked on, never what becomes of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyspark.sql.functions as F

from purchasepath.sessions.engine.chunks import Border
from purchasepath.sessions.engine.cuts import GAP
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


def heavy_limit(num_events: int, bucket_events: int = BUCKET_EVENTS) -> int:
    """Of `num_events` events, how many one visitor may have: beyond, the timeline is cut in chunks of about as many."""
    return max(bucket_events, int(num_events * _MAX_SHARE))


@dataclass(frozen=True)
class HeavyUser:
    """A visitor whose timeline is cut in several chunks, at `borders`."""

    user_id: str
    borders: tuple[Border, ...] = ()


@dataclass(frozen=True)
class Spread:
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
        """(bucket of every row, order of rows by bucket and visitor). `events`: user_id, event_us, event_id; one chunk
        per column."""
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
        border_ids = pa.array([borders[n - 1].event_id for n in number[level]], pa.string())
        before = pc.less(events["event_id"].take(pa.array(rows[level])).combine_chunks(), border_ids)
        number[level] -= before.to_numpy(zero_copy_only=False)
    return number


def plan_spread(events: Source, num_tasks: int, bucket_events: int = BUCKET_EVENTS) -> Spread:
    """The spread of `events`, with provisional borders: times that divide each heavy visitor's events about evenly.
    Where somebody may be heavy, counts all events by visitor, and reads the times of those who are."""
    if events.most_of_visitor is not None and events.most_of_visitor <= bucket_events:
        return Spread(max(num_tasks, -(-(events.num_rows or 0) // bucket_events)), num_tasks)
    counted_from = max(1, min(_COUNTED_FROM, bucket_events // 64))
    counts = events.map(_count_users(counted_from), ("user_id",), "user_id string, num_events bigint", roughly=True)
    known = F.col("user_id").isNotNull()
    heaviest = F.slice(F.sort_array(F.collect_list(F.when(
        known & (F.col("num_events") > bucket_events), F.struct("num_events", "user_id"))), asc=False), 1, _MOST_HEAVY)
    found = counts.groupBy("user_id").agg(F.sum("num_events").alias("num_events")).agg(
        F.sum(F.when(~known, F.col("num_events"))).alias("total"), heaviest.alias("heaviest")).first()
    assert found is not None
    total = found["total"] or 0
    limit = heavy_limit(total, bucket_events)
    chunks = {row["user_id"]: -(-row["num_events"] // limit) for row in found["heaviest"] if row["num_events"] > limit}
    num_buckets = max(num_tasks, -(-total // bucket_events))
    return Spread(num_buckets, num_tasks, tuple(_with_borders(events, chunks, limit)) if chunks else ())


def _count_users(counted_from: int) -> Work:
    """Total (user_id null) and the events of each visitor who has many, per task."""

    def count(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        total, by_user = 0, pa.table({"user_id": pa.array([], pa.string()), "n": pa.array([], pa.int64())})
        for table in gather(batches):
            total += len(table)
            counted = pc.value_counts(table["user_id"].chunk(0))
            part = pa.table({"user_id": counted.field(0).cast(pa.string()), "n": counted.field(1)})
            joined = pa.concat_tables([by_user, part]).group_by("user_id").aggregate([("n", "sum")])
            by_user = joined.rename_columns(["user_id", "n"])
        many = by_user.filter(pc.greater_equal(by_user["n"], counted_from)).combine_chunks()
        users, numbers = ((many[name].chunk(0).to_pylist() if len(many) else []) for name in ("user_id", "n"))
        yield pa.record_batch([pa.array([None, *users], pa.string()), pa.array([total, *numbers], pa.int64())],
                              names=["user_id", "num_events"])

    return count


def _with_borders(events: Source, chunks: dict[str, int], limit: int) -> list[HeavyUser]:
    one_in = max(1, limit // _TIMES_PER_CHUNK)
    rows = events.map(_sample_times(list(chunks), one_in), ("user_id", "event_us"), "user_id string, event_us bigint")
    times = defaultdict(list)
    for row in rows.collect():  # about _TIMES_PER_CHUNK per chunk
        times[row["user_id"]].append(row["event_us"])
    found = []
    for user_id, number in chunks.items():
        sample = np.sort(np.array(times[user_id], dtype=np.int64))
        at = sample[[len(sample) * n // number for n in range(1, number)]] if len(sample) else sample
        found.append(HeavyUser(user_id, tuple(Border(int(us), "", GAP) for us in np.unique(at))))
    return found


def _sample_times(user_ids: list[str], one_in: int) -> Work:
    """Times of these visitors, one in so many by a hash of the time."""

    def sample(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        wanted = pa.array(user_ids, pa.string())
        for batch in batches:
            some = batch.filter(pa.array(mix(batch["event_us"].to_numpy()) % np.uint64(one_in) == 0))
            theirs = some.filter(pa.array(places(some["user_id"], wanted) >= 0))
            yield pa.record_batch([theirs["user_id"].cast(pa.string()), theirs["event_us"]], names=some.schema.names)

    return sample
