"""Raw files -> EVENTS and the tables beside it (rejected rows, changes, ids, books), all of them or none."""

from __future__ import annotations

from dataclasses import replace

import pyspark.sql.functions as F

from purchasepath.errors import InputError
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


def run(job: Job) -> Summary:
    config = job.config
    source = load_source(config.ingest.source)
    reader = reading_session(job.spark)
    check_expressions(reader, source)
    found = find_source_layouts(reader, source, config.paths.raw)
    key = load_key(config.ingest)  # may make the key file, so input that is not there comes first
    rows = read_rows(reader, source, found.layouts, job.started_at)

    with job.warehouse.transaction(job.run_id) as tx:
        adds = config.ingest.history == "add"
        history = read_history(job.warehouse, key) if adds else None
        with explained_values(source):
            judged, books = settle(tx, rows, key)
        if not books.read:
            raise InputError(f"{config.paths.raw}: {found.num_files} files without a single row; expected raw events")
        check_raw_ids(judged.where(F.col(VERDICT) == ACCEPTED))
        rejections = find_rejections(judged, books, config.ingest.max_rejected_share)
        delivered = deliver(tx, judged, books, history, job.run_id)
        collided = find_collisions(judged, delivered.books, delivered.collided, config.ingest.max_collision_share)
        rejected = tx.write(REJECTED_EVENTS, keep_rejected(judged, source.name), append=adds)
        books = replace(delivered.books, rejected=rejected).check()
        entry = books_row(job.spark, books, run_id=job.run_id, source=source.name, files=found.num_files,
                          history="add" if history else "replace")
        earlier = job.warehouse.read(INGEST_BOOKS) if job.warehouse.exists(INGEST_BOOKS) else entry.limit(0)
        tx.write(INGEST_BOOKS, earlier.unionByName(entry).coalesce(1))
        others = other_sources(earlier, source.name) if history else []

    lines = summary_lines(f"{source.name}, {found.num_files} files", books, added=history is not None,
                          rejections=rejections, remarks=found.remarks, collided=collided, others=others)
    written = {EVENTS.name: books.accepted, REJECTED_EVENTS.name: rejected, USER_KEYS.name: delivered.new_ids}
    return Summary(written, lines, next="./spark-submit.sh sessionize", events=books.read)


if __name__ == "__main__":
    main("ingest", run)
