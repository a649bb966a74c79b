"""Raw files -> EVENTS, REJECTED_EVENTS, USER_KEYS and INGEST_BOOKS, all of them or none."""

from __future__ import annotations

from pyspark.sql import DataFrame

from purchasepath.errors import InputError
from purchasepath.job import Job, Summary, main
from purchasepath.sources.books import Books, books_row, check_rejected_share, count_verdicts, top_rejections
from purchasepath.sources.cleaning import judge, keep_accepted, keep_rejected, read_rows, summarize_ids
from purchasepath.sources.layout import find_source_layouts
from purchasepath.sources.mapping import load_source
from purchasepath.sources.pseudonyms import load_key
from purchasepath.sources.unreadable import explained_damage
from purchasepath.storage.warehouse import Transaction
from purchasepath.tables.catalog import EVENT_CHANGES, EVENTS, INGEST_BOOKS, REJECTED_EVENTS, USER_KEYS


def run(job: Job) -> Summary:
    config = job.config
    source = load_source(config.ingest.source)
    key = load_key(config.ingest)
    found = find_source_layouts(job.spark, source, config.paths.raw)
    rows = read_rows(job.spark, source, found.layouts, job.started_at)

    with job.warehouse.transaction(job.run_id) as tx:
        judged, books = settle(tx, rows, key)
        if not books.read:
            raise InputError(f"{config.paths.raw}: {found.num_files} files without a single row; expected raw events")
        rejections = top_rejections(judged) if books.rejected else []
        check_rejected_share(books, rejections, config.ingest.max_rejected_share)
        entry = books_row(job.spark, books, run_id=job.run_id, source=source.name, files=found.num_files)
        earlier = job.warehouse.read(INGEST_BOOKS) if job.warehouse.exists(INGEST_BOOKS) else entry.limit(0)
        written = {
            "events": tx.write(EVENTS, keep_accepted(judged)),
            "rejected_events": tx.write(REJECTED_EVENTS, keep_rejected(judged, source.name)),
            "user_keys": tx.write(USER_KEYS, summarize_ids(judged)),
        }
        Books(books.read, written["events"], books.duplicates, written["rejected_events"]).check()
        tx.write(EVENT_CHANGES, EVENT_CHANGES.frame(job.spark))  # EVENTS was replaced: SESSIONS are built anew
        tx.write(INGEST_BOOKS, earlier.unionByName(entry).coalesce(1))

    lines = [f"{source.name}, {found.num_files} files: {books}", *[f"rejected: {r}" for r in rejections]]
    return Summary(written, [*lines, *found.remarks], next="./spark-submit.sh sessionize", events=books.read)


def settle(tx: Transaction, rows: DataFrame, key: bytes) -> tuple[DataFrame, Books]:
    """The judged rows, computed once, and their books, balanced against a count of the raw rows (cheap: unparsed).

    `Observation` would count in the same pass, but blocks forever on an empty input (SPARK-54620).
    """
    with explained_damage():
        judged = tx.materialize(judge(rows, key), "judged")
        return judged, count_verdicts(judged, rows.count()).check()


if __name__ == "__main__":
    main("ingest", run)
