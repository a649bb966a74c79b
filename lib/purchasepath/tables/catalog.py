"""Every table of Purchasepath: grain, partitioning, columns, types, meanings and units.

All timestamps are UTC with microseconds. `user_id` is always a keyed pseudonym.
Prices and revenue are in the shop's own currency.
"""

from __future__ import annotations

from dataclasses import replace

from purchasepath.tables.features import FEATURE_TABLES
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
        C("promotion", "boolean", "the item was on promotion at that time", default=False),
        C("source_session", "string", "the shop's own session id", nullable=True),
        C("event_date", "date", "day (UTC) of event_ts"),
    ),
    key=("event_id",),
    partition_by=("event_date",),
)

REJECTED_EVENTS = Table(
    "rejected_events",
    "raw row that was not accepted",
    "ingest",
    (
        C("raw", "string", "the raw row as it stood in the file (JSON of its columns where it came from Parquet)"),
        C("file", "string", "file it came from"),
        C("reasons", "array<string>", "every rule it broke"),
        C("source", "string", "mapping it was read with"),
    ),
)

EVENT_CHANGES = Table(
    "event_changes",
    "event added to or taken out of EVENTS that SESSIONS does not know yet",
    "ingest",
    (
        C("user_id", "string", "keyed pseudonym of the visitor"),
        C("event_id", "string", "as in events"),
        C("event_ts", "timestamp", "when it happened"),
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
    "visitor or account id of the shop",
    "ingest",
    (
        C("user_id", "string", "keyed pseudonym, as everywhere else"),
        C("raw_id", "string", "the shop's own id; the only table that holds it: restrict who may read it"),
    ),
    key=("user_id",),
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
        C("is_bot", "boolean", "flagged by the rate or the size rule"),
        C("source_session", "string", "the shop's own session id of the first event that has one", nullable=True),
        C("event_ids", "array<string>", "events in order (event_ts, event_id); all arrays run in parallel"),
        C("event_types", "array<string>", "type of each event"),
        C("item_ids", "array<string>", "item of each event; elements may be null"),
        C("categories", "array<string>", "category of each event; elements may be null"),
        C("prices", "array<double>", "price of each event; elements may be null"),
        C("quantities", "array<int>", "pieces of each event"),
        C("promotions", "array<boolean>", "promotion flag of each event"),
        C("channels", "array<string>", "channel of each event; elements may be null"),
        C("offsets_us", "array<bigint>", "microseconds from started_at to each event"),
        C("arrival_lags_us", "array<bigint>", "microseconds from each event to its arrival in the log"),
        C("session_date", "date", "day (UTC) of started_at"),
    ),
    key=("session_id",),
    partition_by=("session_date",),
    cluster_by=("user_id", "started_at"),
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

FUNNEL = Table(
    "funnel",
    "dimension value and funnel step",
    "analyze",
    (
        C("dimension", "string", "all, channel, price_band or device"),
        C("value", "string", "value of the dimension"),
        C("step_number", "int", "1 for the first step"),
        C("step", "string", "event type of the step"),
        C("sessions", "bigint", "sessions that reached this step after all steps before it, in order"),
        C("share_of_first", "double", "sessions / sessions of step 1"),
        C("drop_off", "double", "share of the previous step's sessions that did not get here; 0 for step 1"),
    ),
    key=("dimension", "value", "step_number"),
)

TRANSITIONS = Table(
    "transitions",
    "pair of path states",
    "analyze",
    (
        C("from_state", "string", "start, or an event type"),
        C("to_state", "string", "an event type, purchase (absorbing) or leave (absorbing)"),
        C("transitions", "bigint", "times the pair was seen in sessions"),
        C("probability", "double", "transitions / all transitions out of from_state"),
        C("median_seconds", "double", "median seconds between the two events; null to leave", nullable=True),
    ),
    key=("from_state", "to_state"),
)

REMOVAL_EFFECTS = Table(
    "removal_effects",
    "path state",
    "analyze",
    (
        C("state", "string", "event type"),
        C("reach_probability", "double", "probability that a session ever gets to the state"),
        C("conversion_probability", "double", "probability of a purchase from the state on"),
        C("removal_effect", "double", "share of purchases lost if every path ended at the state"),
    ),
    key=("state",),
)

PATHS = Table(
    "paths",
    "path of event types (consecutive repeats collapsed)",
    "analyze",
    (
        C("path", "string", "states joined by ' > '"),
        C("length", "int", "states on the path"),
        C("sessions", "bigint", "sessions that walked it"),
        C("purchases", "bigint", "sessions among them with a purchase"),
        C("revenue", "double", "their revenue"),
        C("median_duration_s", "double", "median seconds from first to last event"),
    ),
    key=("path",),
)

CHANNELS = Table(
    "channels",
    "channel",
    "analyze",
    (
        C("channel", "string", "channel of sessions; unknown where the events do not say, other for rare ones"),
        C("journeys", "bigint", "journeys that touch it; a journey is a visitor's sessions up to and including one "
                                "with a purchase, and once more those after the last purchase"),
        C("first_touch", "double", "conversions of journeys that began with it"),
        C("last_touch", "double", "conversions in a session that came by it"),
        C("linear_touch", "double", "conversions shared equally among the sessions of their journey"),
        C("removal_effect", "double", "share of conversions lost if every journey ended at it"),
        C("markov", "double", "conversions shared in proportion to the removal effects"),
    ),
    key=("channel",),
)

SCORES = Table(
    "scores",
    "user, as-of date and model",
    "score",
    (
        C("user_id", "string", "keyed pseudonym of the visitor"),
        C("as_of", "timestamp", "the scores use only events before this time that had arrived by it"),
        C("purchase_probability", "float", "probability of a purchase within the horizon after as_of"),
        C("num_events", "int", "events the model saw of this user"),
        C("horizon_hours", "double", "the horizon"),
        C("model_version", "string", "fingerprint of the bundle"),
        C("run_id", "string", "run of the score job"),
        C("as_of_date", "date", "day (UTC) of as_of"),
        C("model_name", "string", "name of the bundle"),
    ),
    key=("user_id", "as_of_date", "model_name"),
    partition_by=("as_of_date", "model_name"),
)

RECOMMENDATIONS = Table(
    "recommendations",
    "user, rank, as-of date and model",
    "score",
    (
        C("user_id", "string", "keyed pseudonym of the visitor"),
        C("as_of", "timestamp", "as in scores"),
        C("rank", "int", "1 is the best"),
        C("item_id", "string", "the shop's item id"),
        C("score", "float", "the model's logit; comparable within one user only"),
        C("model_version", "string", "fingerprint of the bundle"),
        C("run_id", "string", "run of the score job"),
        C("as_of_date", "date", "day (UTC) of as_of"),
        C("model_name", "string", "name of the bundle"),
    ),
    key=("user_id", "rank", "as_of_date", "model_name"),
    partition_by=("as_of_date", "model_name"),
)

METRICS = Table(
    "metrics",
    "model, task and metric",
    "evaluate",
    (
        C("model", "string", "purchasepath (ours), popular_7d, markov_1 or logistic_regression"),
        C("task", "string", "next_item or purchase"),
        C("metric", "string", "recall, ndcg, mrr, coverage, roc_auc, pr_auc, precision, recall, f1, log_loss, "
                              "calibration_error, base_rate"),
        C("k", "int", "cut-off of a ranking metric", nullable=True),
        C("value", "double", "the metric; null where it is not defined (one class only, nothing to rank)",
          nullable=True),
        C("support", "bigint", "targets or points it was measured on"),
        C("protocol", "string", "how it was measured"),
        C("model_version", "string", "fingerprint of the bundle it was measured beside"),
        C("run_id", "string", "run of the evaluate job"),
    ),
    key=("model", "task", "metric", "k"),
)

CALIBRATION = Table(
    "calibration",
    "model and bin of predicted purchase probability",
    "evaluate",
    (
        C("model", "string", "as in metrics"),
        C("bin", "int", "0-9, equal width"),
        C("points", "bigint", "predictions in the bin"),
        C("mean_predicted", "double", "mean predicted probability"),
        C("observed", "double", "share that bought"),
    ),
    key=("model", "bin"),
)

TRAINING_CURVES = Table(
    "training_curves",
    "epoch of the newest training run",
    "train",
    (
        C("epoch", "int", "from 1"),
        C("metric", "string", "train_loss, valid_loss, valid_item_loss, valid_purchase_loss, valid_recall_10 …"),
        C("value", "double", "value at the end of the epoch"),
        C("model_version", "string", "fingerprint of the bundle"),
    ),
    key=("epoch", "metric"),
)

EXAMPLES = Table(
    "examples",
    "stretch of at most dataset.max_length events of one user, in one split",
    "dataset",
    (
        C("example_id", "bigint", "hash of user_id, split and the stretch's number"),
        C("item", "array<int>", "vocabulary id of each event's item (see VOCABULARY)"),
        C("type", "array<int>", "1 + position of the event's type in EVENT_TYPES"),
        C("gap", "array<float>", "log(1 + seconds since the user's previous event); 0 for the first"),
        C("price", "array<float>", "standardised log(1 + price); 0 where unknown"),
        C("target", "array<int>", "item of the next event if it has one, other than this event's, that belongs to "
                                  "the split; 0: no target"),
        C("point", "array<int>", "for each as-of time: position of the last event before it"),
        C("idle", "array<float>", "for each as-of time: log(1 + seconds since that event)"),
        C("features", "array<float>", "for each as-of time: the standardised user features, flattened"),
        C("bought", "array<int>", "for each as-of time: 1 if a purchase follows within the horizon, else 0"),
        C("split", "string", "train, valid or test"),
    ),
    key=("example_id",),
    partition_by=("split",),
)

VOCABULARY = Table(
    "vocabulary",
    "known item",
    "dataset",
    (
        C("item_id", "string", "the shop's item id"),
        C("id", "int", "0 padding, 1 no item, 2 unknown item; items from 3 by falling count, ties by item_id"),
        C("count", "bigint", "events on the training span"),
    ),
    key=("item_id",),
)

CORE_TABLES: tuple[Table, ...] = (
    EVENTS, REJECTED_EVENTS, EVENT_CHANGES, INGEST_BOOKS, USER_KEYS, SESSIONS, TRAINING_CURVES, METRICS, CALIBRATION,
    SCORES, RECOMMENDATIONS, FUNNEL, TRANSITIONS, REMOVAL_EFFECTS, PATHS, CHANNELS,
    IDENTITIES, PERSONS, STITCHED_SESSIONS,
)

TABLES: tuple[Table, ...] = CORE_TABLES + FEATURE_TABLES
"""Every table of the warehouse. (EXAMPLES and VOCABULARY live in the dataset directory instead.)"""
