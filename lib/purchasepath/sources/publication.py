"""A judged delivery becomes EVENTS and the tables beside it: one commit, on top of whatever others have published."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from pyspark.sql import DataFrame

from purchasepath.config import Ingest
from purchasepath.errors import ConflictError
from purchasepath.sources.books import Books, books_row, find_collisions, other_sources
from purchasepath.sources.cleaning import keep_rejected
from purchasepath.sources.delivery import deliver, read_history
from purchasepath.storage.warehouse import Warehouse
from purchasepath.tables.catalog import EVENTS, INGEST_BOOKS, REJECTED_EVENTS, USER_KEYS

MOST_TRIES = 10


@dataclass(frozen=True)
class Judged:
    """A delivery before it meets its history: `rows` with their verdicts, and their `books`."""

    rows: DataFrame
    books: Books
    source: str
    num_files: int


@dataclass(frozen=True)
class Published:
    """What a delivery has become: its books, rows per table, whether it joined a history, some event ids that collide,
    and other sources that the history holds."""

    books: Books
    rows: dict[str, int]
    joined: bool
    collided: Sequence[str]
    others: Sequence[str]


def publish(warehouse: Warehouse, judged: Judged, config: Ingest, key: bytes, run_id: str) -> Published:
    """Add `judged` to the history, or put it in its place (`ingest.history`).

    Where another run publishes meanwhile, an addition is made again on top of it, from rows that stay judged; a
    replacement raises ConflictError: theirs stands.
    """
    for _ in range(MOST_TRIES - 1 if config.history == "add" else 0):
        with suppress(ConflictError):
            return _publish(warehouse, judged, config, key, run_id)
    return _publish(warehouse, judged, config, key, run_id)


def _publish(warehouse: Warehouse, judged: Judged, config: Ingest, key: bytes, run_id: str) -> Published:
    rows, spark, adds = judged.rows, judged.rows.sparkSession, config.history == "add"
    with warehouse.transaction(run_id) as tx:
        history = read_history(warehouse, key) if adds else None
        delivered = deliver(tx, rows, judged.books, history, run_id)
        collided = find_collisions(rows, delivered.books, delivered.collided, config.max_collision_share)
        rejected = tx.write(REJECTED_EVENTS, keep_rejected(rows, judged.source), append=adds)
        books = dataclasses.replace(delivered.books, rejected=rejected).check()
        earlier = warehouse.read(INGEST_BOOKS) if warehouse.exists(INGEST_BOOKS) else INGEST_BOOKS.frame(spark)
        entry = books_row(spark, books, run_id=run_id, run_number=tx.number, source=judged.source,
                          files=judged.num_files, history="add" if history else "replace")
        tx.write(INGEST_BOOKS, earlier.unionByName(entry).coalesce(1))
        others = other_sources(earlier, judged.source) if history else []
    written = {EVENTS.name: books.accepted, REJECTED_EVENTS.name: rejected, USER_KEYS.name: delivered.new_ids}
    return Published(books, written, history is not None, collided, others)
