"""Events to SESSIONS: one row per session with its summary and its events as parallel arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame

from purchasepath.config import Sessions
from purchasepath.sessions.engine.blocks import BLOCK_DDL, EVENT_COLUMNS, Visits, blocks_of, visits_in
from purchasepath.sessions.engine.chunks import CHUNK_DDL, borders_of, summarize_chunk
from purchasepath.sessions.engine.cuts import NO_CAMPAIGN, Cuts, Stretch, cut
from purchasepath.sessions.engine.hashing import places
from purchasepath.sessions.engine.rows import session_rows
from purchasepath.sessions.engine.source import FrameSource, Source, Work, gather
from purchasepath.sessions.engine.spread import BUCKET_EVENTS, Spread, plan_spread
from purchasepath.sessions.engine.timeline import Timelines, order_events
from purchasepath.tables.catalog import SESSIONS

_FOR_CUTS = ("user_id", "event_id", "event_us", "tie_order", "campaign")


@dataclass(frozen=True)
class Packed:
    """All events as rows of blocks (`BLOCK_DDL`), and what to do with them."""

    blocks: DataFrame
    spread: Spread
    config: Sessions

    def cutter(self) -> CutBucket:
        """Name of a bucket and its visits → their sessions. Travels to the tasks."""
        return cutter(self.config, self.spread.closing_reasons())


CutBucket = Callable[[int, Visits], pa.Table]


def sessionize(events: DataFrame, config: Sessions, *, bucket_events: int = BUCKET_EVENTS) -> DataFrame:
    """SESSIONS of EVENTS. The same rows for any order and partitioning of `events`; event ids must be unique.

    One shuffle, of blocks of rows. Reads all user ids at once, for visitors with more than `bucket_events` events,
    and the events of those it finds: their timelines are cut in several tasks.
    """
    num_tasks = int(events.sparkSession.conf.get("spark.sql.shuffle.partitions") or 1)
    packed = pack(FrameSource(events), config, num_tasks, bucket_events)
    cut_bucket = packed.cutter()

    def work(key: tuple[pa.Scalar, ...], group: pa.Table) -> pa.Table:
        return cut_bucket(key[0].as_py(), visits_in(group))

    return SESSIONS.select(packed.blocks.groupBy("bucket").applyInArrow(work, SESSIONS.ddl()))


def pack(events: Source, config: Sessions, num_tasks: int, bucket_events: int = BUCKET_EVENTS) -> Packed:
    """Events as blocks, a bucket's for one of `num_tasks` tasks."""
    spread = at_session_starts(events, plan_spread(events, num_tasks, bucket_events), config)
    return Packed(events.map(_packer(spread), ("user_id", *EVENT_COLUMNS.names), BLOCK_DDL), spread, config)


def _packer(spread: Spread) -> Work:
    def pack_task(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for table in gather(batches):
            bucket, order = spread.assign(table)
            yield blocks_of(table, spread.names[bucket], order)

    return pack_task


def at_session_starts(events: Source, spread: Spread, config: Sessions) -> Spread:
    """`spread` with every border moved to the next start of a session, so that chunks can be cut apart for good.

    Reads the heavy visitors' events once; one small row per chunk comes back.
    """
    if not spread.heavy:
        return spread
    blocks = events.map(_pack_heavy(spread), _FOR_CUTS, BLOCK_DDL)

    def summarize(key: tuple[pa.Scalar, ...], group: pa.Table) -> pa.Table:
        timelines = order_events(visits_in(group))
        stretch, names = _stretch(timelines, config)
        return summarize_chunk(key[0].as_py(), stretch, timelines.column("tie_order"), timelines.column("event_id"),
                               names, config)

    chunks = {row["bucket"]: row for row in blocks.groupBy("bucket").applyInArrow(summarize, CHUNK_DDL)
              .toArrow().to_pylist()}
    moved = []
    for user in spread.heavy:
        first = spread.first_chunk(user)
        names = [int(name) for name in spread.names[first:first + len(user.borders) + 1]]
        borders = borders_of((chunks[name] for name in names if name in chunks), config)
        moved.append(dataclasses.replace(user, borders=tuple(borders)))
    return dataclasses.replace(spread, heavy=tuple(moved))


def cutter(config: Sessions, closing_reasons: dict[int, int]) -> CutBucket:
    """What to do with a bucket's visits. `closing_reasons`: name of a chunk's bucket → why its last session ended."""

    def work(bucket: int, visits: Visits) -> pa.Table:
        timelines = order_events(visits)
        cuts = cut(_stretch(timelines, config)[0], config)
        if bucket in closing_reasons:
            reasons = cuts.reasons.copy()
            reasons[-1] = closing_reasons[bucket]
            cuts = Cuts(cuts.starts, reasons)
        return session_rows(timelines, cuts, config)

    return work


def _pack_heavy(spread: Spread) -> Work:
    heavy = pa.array([user.user_id for user in spread.heavy], pa.string())

    def theirs(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield batch.filter(pa.array(places(batch["user_id"], heavy) >= 0))

    pack_task = _packer(spread)
    return lambda batches: pack_task(theirs(batches))


def _stretch(timelines: Timelines, config: Sessions) -> tuple[Stretch, pa.Array | None]:
    """What cuts depend on, and the name of each campaign number."""
    day = campaign = names = None
    if config.cut_at_midnight:
        import pandas as pd  # its time zones; loading it takes a worker longer than cutting a bucket

        at = pd.DatetimeIndex(timelines.event_us.view("M8[us]"), tz="UTC").tz_convert(config.timezone)
        day = at.tz_localize(None).to_numpy().astype("M8[D]").view(np.int64)
    if config.cut_on_campaign:
        codes = pc.dictionary_encode(timelines.column("campaign"))
        campaign, names = codes.indices.fill_null(NO_CAMPAIGN).to_numpy(), codes.dictionary
    return Stretch(timelines.event_us, timelines.opens, day, campaign), names
