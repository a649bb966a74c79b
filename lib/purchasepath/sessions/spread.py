"""How events are spread over buckets: visitors by hash, the timelines of heavy visitors by stretches of time.

Looking for heavy visitors takes a sample, chosen by a hash of the event's time. What is found decides only where
rows are worked on, never what becomes of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyspark.sql.functions as F
from pyspark.sql import DataFrame

from purchasepath.sessions.chunks import Border
from purchasepath.sessions.cuts import GAP

BUCKET_EVENTS = 100_000
"""Events sorted and cut together, about. A visitor with more is heavy: the timeline is cut into chunks of as many."""

_SAMPLED = 2000
"""Events of a bucket that the sample should hold: counts are then right to a few per cent."""
_MAX_SHARE = 1 / 4000
"""A visitor with a smaller share is never heavy, so that chunks stay few enough for one table, however large N is."""
_MAX_BORDERS = 4000


@dataclass(frozen=True)
class HeavyUser:
    """A visitor whose timeline is cut in several chunks, at `borders`."""

    user_id: str
    user_hash: int
    num_events: int
    """Estimated from the sample."""
    borders: tuple[Border, ...] = ()


@dataclass(frozen=True)
class Spread:
    """`num_buckets` by hash, and one further bucket per chunk of a heavy visitor."""

    num_buckets: int
    heavy: tuple[HeavyUser, ...] = ()

    def first_chunk(self, user: HeavyUser) -> int:
        """Bucket of the visitor's first chunk; the others follow."""
        before = self.heavy[:self.heavy.index(user)]
        return self.num_buckets + sum(len(other.borders) + 1 for other in before)

    def closing_reasons(self) -> dict[int, int]:
        """Bucket of a chunk → why its last session ended: for the reason the next chunk began."""
        return {self.first_chunk(user) + n: border.reason
                for user in self.heavy for n, border in enumerate(user.borders)}

    def assign(self, table: pa.Table) -> np.ndarray:
        """Bucket of every row (columns user_hash, user_id, event_us, event_id)."""
        hashes = table["user_hash"].to_numpy()
        bucket = (hashes.view(np.uint64) % np.uint64(self.num_buckets)).astype(np.int64)
        for user in self.heavy:
            rows = np.flatnonzero(hashes == user.user_hash)
            ours = pc.equal(table["user_id"].take(pa.array(rows)), user.user_id).to_numpy()
            rows = rows[ours]
            bucket[rows] = self.first_chunk(user) + chunk_numbers(table, rows, user.borders)
        return bucket


def chunk_numbers(table: pa.Table, rows: np.ndarray, borders: tuple[Border, ...]) -> np.ndarray:
    """How many borders each of `rows` has reached; no two borders have the same time."""
    border_us = np.array([b.event_us for b in borders], dtype=np.int64)
    at = table["event_us"].to_numpy()[rows]
    number = np.searchsorted(border_us, at, side="right")
    level = np.flatnonzero((number > 0) & (border_us[number - 1] == at)) if len(borders) else np.empty(0, np.int64)
    if len(level):
        border_ids = pa.array([borders[n - 1].event_id for n in number[level]], pa.string())
        before = pc.less(table["event_id"].take(pa.array(rows[level])).combine_chunks(), border_ids)
        number[level] -= before.to_numpy(zero_copy_only=False)
    return number


def plan_spread(events: DataFrame, num_tasks: int, bucket_events: int = BUCKET_EVENTS) -> Spread:
    """The spread of `events` (`user_id`, `user_hash`, `event_us`), with provisional borders: times that divide each
    heavy visitor's events about evenly. Runs one job over a sample, and a second one where somebody is heavy."""
    one_in = max(1, min(64, bucket_events // _SAMPLED))
    sample = events.where(F.pmod(F.xxhash64("event_us"), F.lit(one_in)) == 0)
    counts = sample.groupBy("user_id", "user_hash").agg((F.count(F.lit(1)) * one_in).alias("num_events"))
    heaviest = F.slice(F.sort_array(F.collect_list(F.when(
        F.col("num_events") > bucket_events, F.struct("num_events", "user_id", "user_hash"))), asc=False), 1, 4000)
    found = counts.agg(F.sum("num_events").alias("total"), heaviest.alias("heaviest")).first()
    assert found is not None
    total = found["total"] or 0
    limit = max(bucket_events, total * _MAX_SHARE)
    heavy = [HeavyUser(row["user_id"], row["user_hash"], row["num_events"]) for row in found["heaviest"]
             if row["num_events"] > limit]
    num_buckets = max(2 * num_tasks, -(-2 * total // bucket_events))
    if not heavy:
        return Spread(num_buckets)
    return Spread(num_buckets, tuple(_with_borders(sample, heavy, limit)))


def _with_borders(sample: DataFrame, heavy: list[HeavyUser], limit: float) -> list[HeavyUser]:
    finest = min(_MAX_BORDERS, max(int(user.num_events / limit) + 1 for user in heavy))
    shares = [n / finest for n in range(1, finest)]
    times = (
        sample.where(F.col("user_id").isin([user.user_id for user in heavy]))
        .groupBy("user_id").agg(F.percentile_approx("event_us", shares, 10_000).alias("times")).collect()
    )  # one row per heavy visitor
    of_user = {row["user_id"]: row["times"] for row in times}
    found = []
    for user in heavy:
        step = finest / min(finest, int(user.num_events / limit) + 1)
        picked = sorted({of_user[user.user_id][round(n * step) - 1] for n in range(1, round(finest / step))})
        borders = tuple(Border(at, "", GAP) for at in picked)
        found.append(HeavyUser(user.user_id, user.user_hash, user.num_events, borders))
    return found
