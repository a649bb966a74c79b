"""Raw files -> EVENTS and the tables beside it (rejected rows, changes, ids, books), all of them or none."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pyspark.sql.functions as F

from purchasepath.errors import ConflictError, InputError
from purchasepath.job import Job, Summary, main
from purchasepath.sources.books import books_row, find_collisions, find_rejections, other_sources, summary_lines
from purchasepath.sources.cleaning import ACCEPTED, VERDICT, keep_rejected, read_rows
from purchasepath.sources.delivery import deliver, read_history, settle
from purchasepath.sources.expressions import check_expressions, explained_values
from purchasepath.sources.layout import find_source_layouts
from purchasepath.sources.mapping import load_source
from purchasepath.sources.pseudonyms import load_key
from purchasepath.sources.raw_ids import check_raw_ids
from purchasepath.sources.reading import reading_session
from purchasepath.tables.catalog import EVENTS, INGEST_BOOKS, REJECTED_EVENTS, USER_KEYS

MOST_TRIES = 10


def run(job: Job) -> Summary:
    config = job.config
    source = load_source(config.ingest.source)
    reader = reading_session(job.spark)
    check_expressions(reader, source)
    found = find_source_layouts(reader, source, config.paths.raw)
    key = load_key(config.ingest)  # may make the key file, so input that is not there comes first
    rows = read_rows(reader, source, found.layouts, job.started_at)

    adds = config.ingest.history == "add"
    if adds:
        read_history(job.warehouse, key)  # another key is told before the work
    with job.warehouse.transaction(f"{job.run_id}-judged") as work, explained_values(source):
        judged, books = settle(work, rows, key)
        if not books.read:
            raise InputError(f"{config.paths.raw}: {found.num_files} files without a single row; expected raw events")
        check_raw_ids(judged.where(F.col(VERDICT) == ACCEPTED))
        rejections = find_rejections(judged, books, config.ingest.max_rejected_share)

        def publish() -> Summary:
            with job.warehouse.transaction(job.run_id) as tx:
                history = read_history(job.warehouse, key) if adds else None
                delivered = deliver(tx, judged, books, history, job.run_id)
                collided = find_collisions(judged, delivered.books, delivered.collided,
                                           config.ingest.max_collision_share)
                rejected = tx.write(REJECTED_EVENTS, keep_rejected(judged, source.name), append=adds)
                closed = replace(delivered.books, rejected=rejected).check()
                known = job.warehouse.exists(INGEST_BOOKS)
                earlier = job.warehouse.read(INGEST_BOOKS) if known else INGEST_BOOKS.frame(job.spark)
                entry = books_row(job.spark, closed, run_id=job.run_id, run_number=tx.number, source=source.name,
                                  files=found.num_files, history="add" if history else "replace")
                tx.write(INGEST_BOOKS, earlier.unionByName(entry).coalesce(1))
                others = other_sources(earlier, source.name) if history else []
            lines = summary_lines(f"{source.name}, {found.num_files} files", closed, added=history is not None,
                                  rejections=rejections, remarks=found.remarks, collided=collided, others=others)
            written = {EVENTS.name: closed.accepted, REJECTED_EVENTS.name: rejected, USER_KEYS.name: delivered.new_ids}
            return Summary(written, lines, next="./spark-submit.sh sessionize", events=closed.read)

        return on_what_others_publish(publish) if adds else publish()


def on_what_others_publish(publish: Callable[[], Summary]) -> Summary:
    """Deliveries may come at once: what is judged stays so, and joins what another run has published meanwhile."""
    for _ in range(MOST_TRIES - 1):
        with suppress(ConflictError):
            return publish()
    return publish()


if __name__ == "__main__":
    main("ingest", run)
