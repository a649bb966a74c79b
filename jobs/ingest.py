"""Raw files -> EVENTS and the tables beside it (rejected rows, changes, ids, books), all of them or none."""

from __future__ import annotations

import pyspark.sql.functions as F

from purchasepath.errors import InputError
from purchasepath.job import Job, Summary, main
from purchasepath.sources.books import find_rejections, summary_lines
from purchasepath.sources.cleaning import ACCEPTED, VERDICT, read_rows
from purchasepath.sources.delivery import read_history, settle
from purchasepath.sources.direction import split_by_direction
from purchasepath.sources.expressions import check_expressions, explained_values
from purchasepath.sources.layout import find_source_layouts
from purchasepath.sources.mapping import load_source
from purchasepath.sources.pseudonyms import load_key
from purchasepath.sources.publication import Judged, publish
from purchasepath.sources.raw_ids import check_raw_ids
from purchasepath.sources.reading import reading_session


def run(job: Job) -> Summary:
    config = job.config
    source = load_source(config.ingest.source)
    reader = reading_session(job.spark)
    check_expressions(reader, source)
    found = find_source_layouts(reader, source, config.paths.raw)
    with explained_values(source):
        found = split_by_direction(reader, found)
    key = load_key(config.ingest)  # may make the key file, so input that is not there comes first
    rows = read_rows(reader, source, found.layouts, job.started_at)

    if config.ingest.history == "add":
        read_history(job.warehouse, key)  # another key is told before the work
    with job.warehouse.transaction(f"{job.run_id}-judged") as work:
        with explained_values(source):
            judged, books = settle(work, rows, key)
        if not books.read:
            raise InputError(f"{config.paths.raw}: {found.num_files} files without a single row; expected raw events")
        check_raw_ids(judged.where(F.col(VERDICT) == ACCEPTED))
        rejections = find_rejections(judged, books, config.ingest.max_rejected_share)
        delivery = Judged(judged, books, source.name, found.num_files)
        published = publish(job.warehouse, delivery, config.ingest, key, job.run_id)

    lines = summary_lines(f"{source.name}, {found.num_files} files", published.books, added=published.joined,
                          rejections=rejections, remarks=found.remarks, collided=published.collided,
                          others=published.others)
    return Summary(published.rows, lines, events=published.books.read)


if __name__ == "__main__":
    main("ingest", run)
