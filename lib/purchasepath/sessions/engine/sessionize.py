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
from purchasepath.sessions.engine.assemble import session_rows
from purchasepath.sessions.engine.boundaries import NO_CAMPAIGN, Cuts, SortedEvents, cut
from purchasepath.sessions.engine.chunks import CHUNK_DDL, borders_of, summarize_chunk
from purchasepath.sessions.engine.hashing import places
from purchasepath.sessions.engine.partition import BUCKET_EVENTS, Partitioner, plan_partitions
from purchasepath.sessions.engine.shuffle import BLOCK_DDL, EVENT_COLUMNS, UserRuns, blocks_of, runs_in
from purchasepath.sessions.engine.source import FrameSource, Source, Work, gather
from purchasepath.sessions.engine.timeline import Timelines, order_events
from purchasepath.tables.catalog import SESSIONS

_FOR_CUTS = ("user_id", "event_id", "event_us", "tie_order", "campaign")


@dataclass(frozen=True)
class Packed:
    """All events as rows of blocks (`BLOCK_DDL`), and what to do with them."""

    blocks: DataFrame
    partitioner: Partitioner
    config: Sessions

    def cutter(self) -> CutBucket:
        """Name of a bucket and its runs → their sessions. Travels to the tasks."""
        return cutter(self.config, self.partitioner.closing_reasons())


CutBucket = Callable[[int, UserRuns], pa.Table]


def sessionize(events: DataFrame, config: Sessions, *, bucket_events: int = BUCKET_EVENTS) -> DataFrame:
    """SESSIONS of EVENTS. The same rows for any order and partitioning of `events`; event ids must be unique.

    One shuffle, of blocks of rows. Reads all user ids at once, for visitors with more than `bucket_events` events,
    and the events of those it finds: their timelines are cut in several tasks.
    """
    num_tasks = int(events.sparkSession.conf.get("spark.sql.shuffle.partitions") or 1)
    packed = pack(FrameSource(events), config, num_tasks, bucket_events)
    cut_bucket = packed.cutter()

    def work(key: tuple[pa.Scalar, ...], group: pa.Table) -> pa.Table:
        return cut_bucket(key[0].as_py(), runs_in(group))

    return SESSIONS.select(packed.blocks.groupBy("bucket").applyInArrow(work, SESSIONS.ddl()))


def pack(events: Source, config: Sessions, num_tasks: int, bucket_events: int = BUCKET_EVENTS) -> Packed:
    """Events as blocks, a bucket's for one of `num_tasks` tasks."""
    partitioner = at_session_starts(events, plan_partitions(events, num_tasks, bucket_events), config)
    return Packed(events.map(_packer(partitioner), ("user_id", *EVENT_COLUMNS.names), BLOCK_DDL), partitioner, config)


def _packer(partitioner: Partitioner) -> Work:
    def pack_task(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for table in gather(batches):
            bucket, order = partitioner.assign(table)
            yield blocks_of(table, partitioner.names[bucket], order)

    return pack_task


def at_session_starts(events: Source, partitioner: Partitioner, config: Sessions) -> Partitioner:
    """`partitioner` with every border moved to the next start of a session, so that chunks can be cut apart for good.

    Reads the heavy visitors' events once; one small row per chunk comes back.
    """
    if not partitioner.heavy:
        return partitioner
    blocks = events.map(_pack_heavy(partitioner), _FOR_CUTS, BLOCK_DDL)

    def summarize(key: tuple[pa.Scalar, ...], group: pa.Table) -> pa.Table:
        timelines = order_events(runs_in(group))
        ordered, names = _sorted_events(timelines, config)
        return summarize_chunk(key[0].as_py(), ordered, timelines.column("tie_order"), timelines.column("event_id"),
                               names, config)

    chunks = {row["bucket"]: row for row in blocks.groupBy("bucket").applyInArrow(summarize, CHUNK_DDL)
              .toArrow().to_pylist()}
    moved = []
    for user in partitioner.heavy:
        first = partitioner.first_chunk(user)
        names = [int(name) for name in partitioner.names[first:first + len(user.borders) + 1]]
        borders = borders_of((chunks[name] for name in names if name in chunks), config)
        moved.append(dataclasses.replace(user, borders=tuple(borders)))
    return dataclasses.replace(partitioner, heavy=tuple(moved))


def cutter(config: Sessions, closing_reasons: dict[int, int]) -> CutBucket:
    """What to do with a bucket's runs. `closing_reasons`: name of a chunk's bucket → why its last session ended."""

    def work(bucket: int, runs: UserRuns) -> pa.Table:
        timelines = order_events(runs)
        cuts = cut(_sorted_events(timelines, config)[0], config)
        if bucket in closing_reasons:
            reasons = cuts.reasons.copy()
            reasons[-1] = closing_reasons[bucket]
            cuts = Cuts(cuts.starts, reasons)
        return session_rows(timelines, cuts, config)

    return work


def _pack_heavy(partitioner: Partitioner) -> Work:
    heavy = pa.array([user.user_id for user in partitioner.heavy], pa.string())

    def theirs(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield batch.filter(pa.array(places(batch["user_id"], heavy) >= 0))

    pack_task = _packer(partitioner)
    return lambda batches: pack_task(theirs(batches))


def _sorted_events(timelines: Timelines, config: Sessions) -> tuple[SortedEvents, pa.Array | None]:
    """What cuts depend on, and the name of each campaign number."""
    day = campaign = names = None
    if config.cut_at_midnight:
        import pandas as pd  # its time zones; loading it takes a worker longer than cutting a bucket

        at = pd.DatetimeIndex(timelines.event_us.view("M8[us]"), tz="UTC").tz_convert(config.timezone)
        day = at.tz_localize(None).to_numpy().astype("M8[D]").view(np.int64)
    if config.cut_on_campaign:
        codes = pc.dictionary_encode(timelines.column("campaign"))
        campaign, names = codes.indices.fill_null(NO_CAMPAIGN).to_numpy(), codes.dictionary
    return SortedEvents(timelines.event_us, timelines.opens, day, campaign), names
