"""Cleaning: every raw row gets one verdict, accepted, duplicate or rejected, and nothing is lost on the way.

- rejected: cannot be parsed, or breaks a rule; all its reasons are kept. Judged first.
- duplicate: an accepted row has its event id already. Of rows with one id the one that arrived first stays
  (`history.FIRST`, which also settles ties); its `tie_order` is the largest that a file gives to the first of its
  copies. Where a source has no ids, the id is a hash of the row's text, so
  exact duplicates share it.
- collision: a duplicate whose contents are other than those of the row that stays: perhaps another event.
- accepted: the rest. Whether an earlier run knew their ids is decided afterwards (`delivery`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import reduce

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame, SparkSession, Window

from purchasepath.sources.fields import content_hash, field_rules, sequence_number, text_columns, typed_columns
from purchasepath.sources.history import CONTENTS, FIRST
from purchasepath.sources.layout import Layout
from purchasepath.sources.mapping import FIELDS, OWN_PREFIX, Input, Source
from purchasepath.sources.pseudonyms import add_pseudonyms
from purchasepath.sources.raw import BACKWARDS, BROKEN, FILE, IN_FILE, RAW, file_path, read_raw
from purchasepath.sources.raw_ids import IDS, hide_raw_ids
from purchasepath.tables.catalog import EVENTS
from purchasepath.tables.event_order import tie_order_by_number, tie_order_by_type, tie_order_in_file, type_rank
from purchasepath.tables.quality import broken_rules, first_broken

ACCEPTED, DUPLICATE, COLLISION, REJECTED = "accepted", "duplicate", "collision", "rejected"
REASONS, VERDICT = f"{OWN_PREFIX}reasons", f"{OWN_PREFIX}verdict"
_RIVALS, _STAYS, _NUMBER, _BEFORE, _TOLD = (f"{OWN_PREFIX}{name}" for name in (
    "rivals", "stays", "place", "before", "told"))
_TEXT, _HASH, _SEQUENCE = f"{OWN_PREFIX}text_", f"{OWN_PREFIX}hash", f"{OWN_PREFIX}sequence"


def read_rows(spark: SparkSession, source: Source, layouts: Mapping[str, Sequence[Layout]], now: datetime) -> DataFrame:
    """One row per raw row of all inputs: EVENTS fields (raw ids), tie_order, RAW (of rejected rows), FILE, REASONS and
    a hash of the content."""
    inputs = [clean_input(read_raw(spark, layouts[spec.name]), spec, source, now)
              for spec in source.inputs if layouts.get(spec.name)]
    return reduce(DataFrame.unionByName, inputs)


def clean_input(raw: DataFrame, spec: Input, source: Source, now: datetime) -> DataFrame:
    """Raw rows of one input as typed EVENTS fields, with the reasons against each row."""
    texts = text_columns(spec)
    rows = raw.select(RAW, FILE, *IN_FILE, BACKWARDS, BROKEN, content_hash(spec).alias(_HASH),
                      sequence_number(spec).alias(_SEQUENCE),
                      *[text.alias(_TEXT + name) for name, text in texts.items()])
    text = {name: F.col(_TEXT + name) for name in texts}
    rows = rows.withColumns(typed_columns(spec, text))
    typed = {name: F.col(name) for name in FIELDS}
    against = first_broken(F.col(BROKEN), broken_rules(field_rules(text, typed, source.limits, now)))
    rows = rows.withColumn(REASONS, against)
    rows = rows.withColumn(RAW, F.when(_is_rejected(), F.col(RAW)))  # most texts are not shuffled
    if spec.repeats == "events":
        rows = rows.withColumn(_HASH, numbered_hash())
    tie_order = tie_order_by_number(F.col(_SEQUENCE)) if spec.sequence else tie_order_of_record()
    return rows.withColumn("tie_order", tie_order).withColumns(_filled(typed)).select(
        *FIELDS, "tie_order", RAW, FILE, REASONS, _HASH)


def numbered_hash() -> Column:
    """The hash of the content, with a number from the second of equal rows of one file on."""
    equal = Window.partitionBy(FILE, _HASH)
    number = F.row_number().over(equal.orderBy(*IN_FILE))
    return F.when(number == 1, F.col(_HASH)).otherwise(F.concat_ws("-", _HASH, number.cast("string")))


def tie_order_of_record() -> Column:
    """`tie_order` by where the record stands among those of its visitor and instant in its file. Rejected ones, each in
    a group of equal texts, take no part."""
    rejected = _is_rejected()
    visitor, at = F.when(rejected, F.col(_HASH)).otherwise(F.col("user_id")), F.when(~rejected, F.col("event_ts"))
    # paths begin alike, and sorting compares first bytes first
    instant = Window.partitionBy(visitor, at, FILE).orderBy(*IN_FILE)
    so_far = instant.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    highest = F.max(type_rank(F.col("event_type"))).over(so_far)
    in_file = tie_order_in_file(highest, F.row_number().over(instant) - 1)
    return F.when(F.col(BACKWARDS), tie_order_by_type(F.col("event_type"))).otherwise(in_file)


def _is_rejected() -> Column:
    return F.size(REASONS) > 0


def judge(rows: DataFrame, key: bytes) -> DataFrame:
    """`rows` with a VERDICT each, pseudonyms for ids, the file kept only of rows that were rejected or collide.

    Columns: EVENTS, raw_user_id, raw_login_id, RAW, FILE, REASONS, VERDICT.
    """
    rows = hide_raw_ids(add_pseudonyms(rows, key, IDS))  # first: the order of duplicates is one of published columns
    rejected = _is_rejected()
    # rejected rows are no rivals: each stands in a group of equal texts, so no group is the group of all nulls
    rows = rows.withColumn(_RIVALS, F.when(rejected, F.concat(F.lit("!"), _HASH)).otherwise(F.col("event_id")))
    copies = Window.partitionBy(_RIVALS).orderBy(*FIRST, FILE, "tie_order")
    so_far = copies.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    rows = rows.withColumns({_STAYS: F.first(F.struct(*FIRST)).over(so_far), _NUMBER: F.row_number().over(copies),
                             _BEFORE: F.lag(FILE).over(copies)})
    equal = {name: F.col(name).eqNullSafe(F.col(f"{_STAYS}.{name}")) for name in FIRST}
    same = reduce(Column.__and__, [equal[name] for name in CONTENTS])
    verdict = F.when(rejected, REJECTED).when(F.col(_NUMBER) == 1, ACCEPTED).when(same, DUPLICATE).otherwise(COLLISION)
    first_in_file = equal["arrived_at"] & same & ~F.col(FILE).eqNullSafe(F.col(_BEFORE))
    judged = rows.withColumns({VERDICT: verdict, _TOLD: F.when(first_in_file, F.col("tie_order"))}).withColumns({
        "tie_order": F.max(_TOLD).over(Window.partitionBy(_RIVALS)), "event_date": F.to_date("event_ts")})
    file = F.when(F.col(VERDICT).isin(REJECTED, COLLISION), file_path(F.col(FILE)))
    return judged.withColumn(FILE, file).drop(_HASH, _RIVALS, _STAYS, _NUMBER, _BEFORE, _TOLD)


def keep_accepted(judged: DataFrame) -> DataFrame:
    """EVENTS."""
    return judged.where(F.col(VERDICT) == ACCEPTED).select(*EVENTS.names)


def keep_rejected(judged: DataFrame, source: str) -> DataFrame:
    """REJECTED_EVENTS."""
    file = F.regexp_replace(F.col(FILE), "^file:(//)?", "")
    return judged.where(F.col(VERDICT) == REJECTED).select(
        F.col(RAW).alias("raw"), file.alias("file"), F.col(REASONS).alias("reasons"), F.lit(source).alias("source"))


def summarize_ids(judged: DataFrame) -> DataFrame:
    """USER_KEYS: one row per visitor or account id of a row that was not rejected.

    Duplicates count too: which copy of an event is accepted can change with the next delivery, an id that was
    seen stays seen.
    """
    read = judged.where(F.col(VERDICT) != REJECTED)
    pairs = F.array(*[F.struct(F.col(name).alias("user_id"), F.col(f"raw_{name}").alias("raw_id")) for name in IDS])
    return read.select(F.inline(pairs)).where(F.col("user_id").isNotNull()).distinct()


def _filled(typed: Mapping[str, Column]) -> dict[str, Column]:
    """Missing values as the catalog declares; an event without an id gets its content's hash."""
    defaults = {c.name: F.coalesce(typed[c.name], F.lit(c.default)) for c in EVENTS.columns if c.default is not None}
    return defaults | {
        "event_id": F.coalesce(typed["event_id"], F.col(_HASH)),
        "price": typed["price"] + F.lit(0.0),  # -0 becomes 0: equal rows are equal to the byte
        # a log entry from before the event itself is a clock's error, not an early arrival
        "arrived_at": F.greatest(typed["arrived_at"], typed["event_ts"]),
    }
