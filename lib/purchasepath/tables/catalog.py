"""The tables that stages hand on: grain, partitioning, columns, types, meanings and units.

All timestamps are UTC with microseconds. `user_id` is always a keyed pseudonym.
Prices and revenue are in the shop's own currency. Tables of an analysis stand in its file (`analyses/`).
"""

from __future__ import annotations

from dataclasses import replace

from purchasepath.tables.features import FEATURE_TABLES
from purchasepath.tables.learning import (
    CALIBRATION,
    EXAMPLES,
    METRICS,
    RECOMMENDATIONS,
    RUN_NUMBER,
    SCORES,
    SIDE_FEATURES,
    TRAINING_CURVES,
    VOCABULARY,
)
from purchasepath.tables.partials import PARTIAL_TABLES
from purchasepath.tables.types import Column as C
from purchasepath.tables.types import Table

EVENT_TYPES = ("search", "category", "view", "cart", "remove", "checkout", "purchase", "return")
"""The event words of EVENTS. A shop's own words are mapped to them in conf/sources."""

EVENTS = Table(
    "events",
    "accepted behaviour event",
    "ingest",
    (
        C("event_id", "string", "the source's event id, or a hash of the raw row's content where it has none"),
        C("user_id", "string", "keyed pseudonym (HMAC-SHA256, hex) of the visitor"),
        C("login_id", "string", "keyed pseudonym of the account, once the visitor has logged in", nullable=True),
        C("event_ts", "timestamp", "when it happened"),
        C("arrived_at", "timestamp", "when the shop's log received it; event_ts where the source does not say"),
        C("event_type", "string", "one of " + ", ".join(EVENT_TYPES)),
        C("item_id", "string", "the item looked at, put in the cart, bought …", nullable=True),
        C("category", "string", "the item's category, or the category browsed", nullable=True),
        C("brand", "string", "the item's brand", nullable=True),
        C("price", "double", "price of one piece at that time", nullable=True),
        C("quantity", "int", "pieces", default=1),
        C("order_id", "string", "order of a checkout, purchase or return", nullable=True),
        C("query", "string", "words searched for", nullable=True),
        C("channel", "string", "how the visitor came: direct, search, email, ad …", nullable=True),
        C("campaign", "string", "marketing campaign", nullable=True),
        C("device", "string", "device class", nullable=True),
        C("agent", "string", "the request's user agent; who names himself a crawler in it is a bot", nullable=True),
        C("promotion", "boolean", "the item was on promotion at that time", default=False),
        C("source_session", "string", "the shop's own session id", nullable=True),
        C("tie_order", "int", "order among the visitor's events of one instant, as their file has it; null in files of "
                              "earlier releases: as the event type", nullable=True),
        C("event_date", "date", "day (UTC) of event_ts"),
    ),
    key=("event_id",),
    partition_by=("event_date",),
)

LATE_EVENTS = Table(
    "late_events",
    "accepted event that arrived too late to be in a session",
    "sessionize",
    (
        *EVENTS.columns[:-1],
        C("reason", "string", "why it is in no session"),
        EVENTS.columns[-1],
    ),
    key=("event_id",),
    partition_by=("event_date",),
)

REJECTED_EVENTS = Table(
    "rejected_events",
    "raw row that was not accepted",
    "ingest",
    (
        C("raw", "string", "the raw row as it stood in the file (JSON of its columns where it came from Parquet); "
                           "where it could be read, pseudonyms stand in place of the shop's ids"),
        C("file", "string", "file it came from"),
        C("reasons", "array<string>", "every rule it broke"),
        C("source", "string", "mapping it was read with"),
    ),
    secret=("raw",),
)

EVENT_CHANGES = Table(
    "event_changes",
    "event added to or taken out of EVENTS that SESSIONS does not know yet",
    "ingest",
    (
        C("user_id", "string", "keyed pseudonym of the visitor"),
        C("event_id", "string", "as in events"),
        C("event_ts", "timestamp", "when it happened"),
        C("arrived_at", "timestamp", "when the shop's log received it"),
        C("change", "string", "added, or removed: a delivery that arrived earlier took its place"),
        C("ingest_run", "string", "run of the ingest job"),
    ),
    key=("event_id", "change", "ingest_run"),
    partition_by=("ingest_run",),
)

INGEST_BOOKS = Table(
    "ingest_books",
    "source and ingest run",
    "ingest",
    (
        C("run_id", "string", "run of the ingest job"),
        RUN_NUMBER,
        C("source", "string", "mapping it was read with"),
        C("files", "bigint", "files read"),
        C("read", "bigint", "raw rows read = accepted + duplicates + rejected"),
        C("accepted", "bigint", "rows put into EVENTS"),
        C("duplicates", "bigint", "exact duplicates and repeated event ids, of this run or an earlier one, dropped"),
        C("rejected", "bigint", "rows put into REJECTED_EVENTS"),
        C("history", "string", "add: to what was there, or replace: everything. Since the last replace, rows of EVENTS "
                               "= sum(accepted) - sum(replaced)"),
        C("replaced", "bigint", "rows of EVENTS from earlier runs that gave way to one of the accepted rows"),
        C("finished_at", "timestamp", "when the run finished"),
    ),
    key=("run_id",),
)

USER_KEYS = Table(
    "user_keys",
    "visitor or account id of the shop that was ever read",
    "ingest",
    (
        C("user_id", "string", "keyed pseudonym, as everywhere else"),
        C("raw_id", "string", "the shop's own id; the only table that holds it"),
    ),
    key=("user_id",),
    secret=("user_id", "raw_id"),
)

SESSIONS = Table(
    "sessions",
    "session",
    "sessionize",
    (
        C("session_id", "string", "hash of user_id and the first event's time and id"),
        C("user_id", "string", "keyed pseudonym of the visitor"),
        C("started_at", "timestamp", "time of the first event"),
        C("ended_at", "timestamp", "time of the last event (never last + gap)"),
        C("duration_s", "double", "ended_at - started_at, seconds"),
        C("cut_reason", "string", "why it ended: gap (no event of the visitor followed within gap_minutes, so "
                                  "far), max_hours, max_events, campaign, midnight"),
        C("num_events", "int", "events"),
        C("num_items", "int", "different items"),
        C("num_searches", "int", "searches"),
        C("num_views", "int", "item views"),
        C("num_carts", "int", "items put in the cart"),
        C("num_removes", "int", "items taken out of the cart"),
        C("num_checkouts", "int", "checkouts begun"),
        C("num_purchases", "int", "items bought (purchase events)"),
        C("revenue", "double", "sum of price x quantity over purchase events; events without a price count 0"),
        C("channel", "string", "channel of the first event that has one", nullable=True),
        C("campaign", "string", "campaign of the first event that has one", nullable=True),
        C("device", "string", "device of the first event that has one", nullable=True),
        C("promotion", "boolean", "some event was on promotion"),
        C("is_bot", "boolean", "of a program, by its agent's own word or by the rate or number of its requests"),
        C("source_session", "string", "the shop's own session id of the first event that has one", nullable=True),
        C("event_ids", "array<string>", "events in order (event_ts, tie_order, event_id); all arrays run in "
                                            "parallel"),
        C("event_types", "array<string>", "type of each event"),
        C("item_ids", "array<string>", "item of each event; elements may be null"),
        C("categories", "array<string>", "category of each event; elements may be null"),
        C("prices", "array<double>", "price of each event; elements may be null"),
        C("quantities", "array<int>", "pieces of each event"),
        C("promotions", "array<boolean>", "promotion flag of each event"),
        C("channels", "array<string>", "channel of each event; elements may be null"),
        C("offsets_us", "array<bigint>", "microseconds from started_at to each event"),
        C("arrival_lags_us", "array<bigint>", "microseconds from each event to its arrival in the log"),
        C("first_tie_order", "int", "tie_order of the first event: the order of sessions that begin in one instant",
          nullable=True),
        C("session_date", "date", "day (UTC) of started_at"),
    ),
    key=("session_id",),
    partition_by=("session_date",),
    cluster_by=("user_id", "started_at"),
)

SUPERSEDED_SESSIONS = Table(
    "superseded_sessions",
    "session id that was published once and is in SESSIONS no more",
    "sessionize",
    (
        C("session_id", "string", "the id that was published"),
        C("user_id", "string", "keyed pseudonym of the visitor"),
        C("started_at", "timestamp", "time of its first event"),
        C("superseded_by", "string", "the session that now holds its first event; null: that event was taken back, "
                                     "or counts as late now", nullable=True),
        C("run_id", "string", "run of sessionize that found it gone"),
        C("session_date", "date", "day (UTC) of started_at"),
    ),
    key=("session_id",),
    partition_by=("session_date",),
    cluster_by=("user_id", "started_at"),
)

SESSIONIZE_BOOKS = Table(
    "sessionize_books",
    "run of sessionize",
    "sessionize",
    (
        C("run_id", "string", "run of the sessionize job"),
        RUN_NUMBER,
        C("mode", "string", "full: every session was built; incremental: those near changed events"),
        C("rules", "string", "fingerprint of the rules sessions are cut by"),
        C("last_ingest_run", "string", "newest run of ingest in it; null where EVENTS has no books", nullable=True),
        C("changes", "bigint", "rows of EVENT_CHANGES that it worked in (full: that it made obsolete)"),
        C("events", "bigint", "rows of EVENTS = events in SESSIONS + late"),
        C("late", "bigint", "rows of LATE_EVENTS"),
        C("sessions_written", "bigint", "sessions that this run built and wrote"),
        C("sessions_retired", "bigint", "stored sessions whose place they took"),
        C("finished_at", "timestamp", "when the run finished"),
    ),
    key=("run_id",),
)

IDENTITIES = Table(
    "identities",
    "visitor and stretch of logged-in events with one account",
    "stitch",
    (
        C("user_id", "string", "keyed pseudonym of the visitor"),
        C("stretch", "bigint", "1 for the visitor's first; their order, also where two begin in the same microsecond"),
        C("login_id", "string", "keyed pseudonym of the account"),
        C("valid_from", "timestamp", "first event with the account"),
        C("valid_to", "timestamp", "first event of the visitor with another account after it; null where there is "
                                   "none", nullable=True),
        C("known_from", "timestamp", "from when on the shop knew: when the first of its events to arrive had arrived"),
        C("num_events", "bigint", "logged-in events of the stretch"),
    ),
    key=("user_id", "stretch"),
)

PERSONS = Table(
    "persons",
    "visitor",
    "stitch",
    (
        C("user_id", "string", "keyed pseudonym of the visitor"),
        C("person_id", "string", "pseudonym of the account last logged in with, as far as is known today; of the "
                                 "visitor where there was none"),
        C("since", "timestamp", "first login of the visitor", nullable=True),
        C("num_accounts", "int", "different accounts: above 1 on a shared device"),
    ),
    key=("user_id",),
)

STITCHED_SESSIONS = replace(
    SESSIONS,
    name="stitched_sessions",
    grain="session of a person over all visitors (devices) the person was logged in on",
    written_by="stitch",
    columns=tuple(replace(c, meaning="the person: see persons.person_id") if c.name == "user_id" else c
                  for c in SESSIONS.columns),
)

TABLES: tuple[Table, ...] = (
    EVENTS, REJECTED_EVENTS, EVENT_CHANGES, INGEST_BOOKS, USER_KEYS,
    SESSIONS, LATE_EVENTS, SUPERSEDED_SESSIONS, SESSIONIZE_BOOKS, IDENTITIES, PERSONS, STITCHED_SESSIONS,
    *FEATURE_TABLES, *PARTIAL_TABLES,
    TRAINING_CURVES, METRICS, CALIBRATION, SCORES, RECOMMENDATIONS,
)
"""Tables of the warehouse but those of analyses; ALL_TABLES of `analyses/catalog.py` has these, too."""

DATASET_TABLES: tuple[Table, ...] = (EXAMPLES, VOCABULARY, SIDE_FEATURES)
"""Tables in the dataset directory."""
