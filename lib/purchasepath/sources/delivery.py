"""A judged delivery goes into the warehouse: to what is there, or in its place.

Only files change whose rows do: new events become further files of their days, a day is written again only where
one of its rows was displaced, and a delivery that was there before leaves EVENTS as it is, to the file.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pyspark.sql.functions as F
from pyspark.sql import DataFrame

from purchasepath.errors import InputError
from purchasepath.sources.books import Books, count_verdicts
from purchasepath.sources.cleaning import judge, keep_accepted, summarize_ids
from purchasepath.sources.history import (
    COLLIDES,
    DISPLACES,
    find_contests,
    find_days,
    keep_days,
    keep_new,
    keep_undisplaced,
    keep_unknown_ids,
    list_changes,
)
from purchasepath.sources.pseudonyms import pseudonym_of
from purchasepath.sources.raw_ids import hide_in_text
from purchasepath.sources.unreadable import explained_damage
from purchasepath.storage.warehouse import Transaction, Warehouse
from purchasepath.tables.catalog import EVENT_CHANGES, EVENTS, USER_KEYS


@dataclass(frozen=True)
class History:
    """EVENTS and USER_KEYS as earlier runs left them."""

    events: DataFrame
    keys: DataFrame


@dataclass(frozen=True)
class Delivered:
    """The books of a delivery that met its history, the visitors that were new, and event ids that stand for other
    contents in the history than in the delivery (a few)."""

    books: Books
    new_ids: int
    collided: tuple[str, ...] = ()


def read_history(warehouse: Warehouse, key: bytes) -> History | None:
    """None before the first run. Raises InputError when `key` is not the one that earlier runs used."""
    if not warehouse.exists(EVENTS):
        return None
    history = History(warehouse.read(EVENTS), warehouse.read(USER_KEYS))
    one = history.keys.first()
    if one is not None and pseudonym_of(key, one["raw_id"]) != one["user_id"]:
        raise InputError("the pseudonym key is not the one that earlier runs used: every visitor would get a second "
                         "pseudonym. Expected the key that made user_keys; give that one (ingest.pseudonym_key_env, "
                         "ingest.pseudonym_key_file), or begin anew with --set ingest.history=replace")
    return history


def settle(tx: Transaction, rows: DataFrame, key: bytes) -> tuple[DataFrame, Books]:
    """The judged rows, computed once, and their books, balanced against a count of the raw rows of its own.

    Counting parses nothing, so it costs little more than reading the lines. (`Observation` would count in the
    same pass, but blocks forever where Spark optimises an empty input away, SPARK-54620.)
    """
    with explained_damage():
        judged = tx.materialize(hide_in_text(judge(rows, key)), "judged")
        return judged, count_verdicts(judged, rows.count()).check()


def deliver(tx: Transaction, judged: DataFrame, books: Books, history: History | None, run_id: str) -> Delivered:
    """Stage the accepted rows: added to `history`, or as all there is."""
    return add_to_history(tx, judged, books, history, run_id) if history else replace_history(tx, judged, books)


def replace_history(tx: Transaction, judged: DataFrame, books: Books) -> Delivered:
    """Stage the accepted rows as all of EVENTS. No change is listed: SESSIONS are built anew."""
    events = tx.write(EVENTS, keep_accepted(judged))
    tx.write(EVENT_CHANGES, EVENT_CHANGES.frame(judged.sparkSession))
    return Delivered(dataclasses.replace(books, accepted=events).check(), tx.write(USER_KEYS, summarize_ids(judged)))


def add_to_history(tx: Transaction, judged: DataFrame, books: Books, history: History, run_id: str) -> Delivered:
    """Stage what the accepted rows change in EVENTS, and the changes themselves."""
    candidates = keep_accepted(judged)
    found = find_days(history.events, candidates, books.accepted).collect()  # one row per day
    nearby = keep_days(history.events, [row["event_date"] for row in found])
    contests = tx.materialize(find_contests(candidates, nearby), "contests")
    counted = F.count("*").alias("rows"), F.count_if(COLLIDES).alias("collisions")
    outcomes = contests.groupBy(DISPLACES, "event_date").agg(*counted).collect()  # at most two rows per day
    known = sum(row["rows"] for row in outcomes if not row[DISPLACES])
    displaced = {row["event_date"]: row["rows"] for row in outcomes if row[DISPLACES]}
    collisions = books.collisions + sum(row["collisions"] for row in outcomes)

    new = keep_new(candidates, contests)
    rewritten = keep_days(history.events, displaced)
    written = tx.write(EVENTS, new.unionByName(keep_undisplaced(rewritten, contests)), append=True,
                       partitions=[{"event_date": day} for day in sorted(displaced)])
    tx.write(EVENT_CHANGES, list_changes(new, contests, run_id), partitions=[{"ingest_run": run_id}])
    new_ids = tx.write(USER_KEYS, keep_unknown_ids(summarize_ids(judged), history.keys), append=True)
    replaced = sum(displaced.values())
    stayed = rewritten.count() - replaced if displaced else 0
    books = dataclasses.replace(books, accepted=written - stayed, duplicates=books.duplicates + known, known=known,
                                replaced=replaced, collisions=collisions)
    return Delivered(books.check(), new_ids, _some_ids(contests.where(COLLIDES)))


def _some_ids(contests: DataFrame, most: int = 3) -> tuple[str, ...]:
    return tuple(row["event_id"] for row in contests.select("event_id").orderBy("event_id").limit(most).collect())
