"""Events to SESSIONS: one row per session with its summary and its events as parallel arrays."""

from __future__ import annotations

import dataclasses

import pyarrow as pa
import pyarrow.compute as pc
import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame

from purchasepath.config import Sessions
from purchasepath.sessions.blocks import Work, pack, work_on_buckets
from purchasepath.sessions.chunks import CHUNK_DDL, borders_of, summarize_chunk
from purchasepath.sessions.cuts import NO_CAMPAIGN, Cuts, Stretch, cut
from purchasepath.sessions.rows import session_rows
from purchasepath.sessions.spread import BUCKET_EVENTS, Spread, plan_spread
from purchasepath.sessions.timeline import Timelines, order_events
from purchasepath.tables.catalog import SESSIONS

ID_LENGTH = 32
"""Hex digits of a session id: 128 bits, so two ids among 10^12 meet with a chance below 10^-14."""

_CARRIED = ("event_type", "item_id", "category", "price", "quantity", "promotion", "channel", "campaign", "device",
            "source_session")
_FOR_CUTS = ("user_id", "user_hash", "event_id", "event_us", "campaign", "day")


def sessionize(events: DataFrame, config: Sessions, *, bucket_events: int = BUCKET_EVENTS) -> DataFrame:
    """SESSIONS of EVENTS. The same rows for any order and partitioning of `events`; event ids must be unique.

    One shuffle, of blocks of rows. Looks at a sample of `events` at once, for visitors with more than
    `bucket_events` events, and at all events of those it finds: their timelines are cut in several tasks.
    """
    rows = narrow(events, config)
    num_tasks = int(events.sparkSession.conf.get("spark.sql.shuffle.partitions") or 1)
    spread = at_session_starts(rows, plan_spread(rows, num_tasks, bucket_events), config)
    found = work_on_buckets(pack(rows, spread.assign), cut_bucket(config, spread.closing_reasons()), _ROWS_DDL)
    first_us, first_id = F.unix_micros("started_at"), F.get("event_ids", F.lit(0))
    return SESSIONS.select(found.withColumn("session_id", session_id(F.col("user_id"), first_us, first_id)))


def session_id(user_id: Column, first_us: Column, first_event_id: Column) -> Column:
    """The same wherever, whenever and on however many partitions it is computed."""
    return F.substring(F.sha2(F.concat_ws("|", user_id, first_us.cast("string"), first_event_id), 256), 1, ID_LENGTH)


def narrow(events: DataFrame, config: Sessions) -> DataFrame:
    """What cutting and summarizing need of EVENTS: times as microseconds; `user_hash` spreads and sorts; `day` is
    there if the rules ask for it."""
    event_us = F.unix_micros("event_ts")
    local_day = F.unix_date(F.to_date(F.from_utc_timestamp("event_ts", config.timezone)))
    return events.select(
        "user_id", F.xxhash64("user_id").alias("user_hash"), "event_id", event_us.alias("event_us"),
        (F.unix_micros("arrived_at") - event_us).alias("arrival_lag_us"), *_CARRIED,
        *([local_day.alias("day")] if config.cut_at_midnight else []),
    )


def at_session_starts(rows: DataFrame, spread: Spread, config: Sessions) -> Spread:
    """`spread` with every border moved to the next start of a session, so that chunks can be cut apart for good.

    Reads the heavy visitors' events once; one small row per chunk comes back.
    """
    if not spread.heavy:
        return spread
    theirs = rows.where(F.col("user_id").isin([user.user_id for user in spread.heavy]))
    summaries = work_on_buckets(
        pack(theirs.select(*(name for name in _FOR_CUTS if name in rows.columns)), spread.assign),
        _summarize_bucket(config), CHUNK_DDL)
    chunks = {row["bucket"]: row for row in summaries.toArrow().to_pylist()}
    moved = []
    for user in spread.heavy:
        first = spread.first_chunk(user)
        numbers = range(first, first + len(user.borders) + 1)
        borders = borders_of((chunks[n] for n in numbers if n in chunks), config)
        moved.append(dataclasses.replace(user, borders=tuple(borders)))
    return dataclasses.replace(spread, heavy=tuple(moved))


def cut_bucket(config: Sessions, closing_reasons: dict[int, int]) -> Work:
    """Events of a bucket → its sessions."""

    def work(bucket: int, table: pa.Table) -> pa.Table:
        events = order_events(table)
        cuts = cut(_stretch(events, config), config)
        if bucket in closing_reasons:
            reasons = cuts.reasons.copy()
            reasons[-1] = closing_reasons[bucket]
            cuts = Cuts(cuts.starts, reasons)
        return session_rows(events, cuts, config)

    return work


def _summarize_bucket(config: Sessions) -> Work:
    def work(bucket: int, table: pa.Table) -> pa.Table:
        events = order_events(table)
        names = pc.dictionary_encode(events.table["campaign"].chunk(0)).dictionary
        return summarize_chunk(bucket, _stretch(events, config), events.table["event_id"].chunk(0), names, config)

    return work


def _stretch(events: Timelines, config: Sessions) -> Stretch:
    day = events.numbers("day") if config.cut_at_midnight else None
    campaign = None
    if config.cut_on_campaign:
        codes = pc.dictionary_encode(events.table["campaign"].chunk(0)).indices
        campaign = codes.fill_null(NO_CAMPAIGN).to_numpy()
    return Stretch(events.event_us, events.opens, day, campaign)


_ROWS_DDL = ", ".join(f"`{c.name}` {c.type}" for c in SESSIONS.columns if c.name != "session_id")
