"""EVENTS -> IDENTITIES, PERSONS and STITCHED_SESSIONS: who stands behind a visitor, and sessions across devices."""

from __future__ import annotations

import pyspark.sql.functions as F

from purchasepath.job import Job, Summary, main
from purchasepath.sessions.engine.sessionize import sessionize
from purchasepath.sessions.identity import link_accounts, persons, stitch
from purchasepath.sessions.lateness import keep_timely
from purchasepath.sources.books import count_events
from purchasepath.tables.catalog import EVENTS, IDENTITIES, INGEST_BOOKS, PERSONS, STITCHED_SESSIONS


def run(job: Job) -> Summary:
    events = job.warehouse.read(EVENTS)
    with job.warehouse.transaction(job.run_id) as tx:
        identities = tx.materialize(link_accounts(events), "identities")
        timely = keep_timely(events, job.config.sessions)
        sessions = sessionize(stitch(timely, identities), job.config.sessions)
        rows = {
            IDENTITIES.name: tx.write(IDENTITIES, identities),
            PERSONS.name: tx.write(PERSONS, persons(events, identities)),
            STITCHED_SESSIONS.name: tx.write(STITCHED_SESSIONS, sessions),
        }
    people = job.warehouse.read(PERSONS)
    found = people.agg(F.count_if(F.col("num_accounts") > 0), F.count_if(F.col("num_accounts") > 1),
                       F.count_distinct("person_id")).first()
    logged_in, shared, num_persons = tuple(found) if found else (0, 0, 0)
    return Summary(rows, [
        f"{rows[PERSONS.name]:,} visitors are {num_persons:,} persons; {logged_in:,} visitors logged in at some time",
        f"{shared:,} visitors used several accounts: their events go to the account of their time",
    ], events=count_events(job.warehouse.read(INGEST_BOOKS)) if job.warehouse.exists(INGEST_BOOKS) else None,
        next='./spark-submit.sh sql "select * from persons where num_accounts > 1 limit 10"')


if __name__ == "__main__":
    main("stitch", run)
