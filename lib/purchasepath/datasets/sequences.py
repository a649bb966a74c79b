"""Examples from sessions: a user's events in order, what to predict at each, and the as-of points among them.

Training and scoring go through the same columns: `events_of`, `encode`, `add_place`, `standard_features`.

A user's known events stand in (event_ts, event_id) order, and are cut into stretches that are counted from the end,
each of at most `max_length` events, the first quarter of which it shares with the stretch before as context:

    events      0  1  2  3  4  5  6  7  8  9  10 11      max_length 8, so a stretch owns 6 of its own
    stretch 1   o  o  o  o  o  o                         the oldest one owns all that is left
    stretch 0               c  c  o  o  o  o  o  o       c: context, target 0 here

Every event is owned once, so every target counts once. In valid and test the owned events begin with the last one
before the split, and context reaches as far back as fits.

A point is an as-of time: its hidden state is the one after the last event before it. Events come in order of time,
not of arrival, so a point is used only if every event before it had arrived by then; `count_points` tells how many
are left out. Visitors flagged as bots before a split's end are left out of that split; they are scored like others.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame, Window

from purchasepath.datasets.manifest import FIRST_ITEM, Manifest, Statistics
from purchasepath.datasets.split import Span, TimeSplit
from purchasepath.datasets.statistics import standard_features, standard_price
from purchasepath.datasets.vocabulary import add_item
from purchasepath.features.as_of import known_from_us, to_us
from purchasepath.tables.catalog import EVENT_TYPES
from purchasepath.tables.features import USER_FEATURES_DECLARED

SECOND_US = 1_000_000


def events_of(sessions: DataFrame) -> DataFrame:
    """One row per event: user_id, at_us, known_us, event_id, event_type, item_id, price, bot_us.

    `known_us` is the first as-of time at which it is known. `bot_us` is when the user's first session that was
    flagged as a bot's began; null for people.
    """
    started_us = F.unix_micros("started_at")
    zipped = F.arrays_zip("event_ids", "event_types", "item_ids", "prices", "offsets_us", "arrival_lags_us")
    exploded = sessions.select("user_id", started_us.alias("started_us"), F.explode(zipped).alias("event"))
    at_us = F.col("started_us") + F.col("event.offsets_us")
    bots = sessions.where("is_bot").groupBy("user_id").agg(F.min(started_us).alias("bot_us"))
    return exploded.select(
        "user_id", at_us.alias("at_us"), known_from_us(at_us, at_us + F.col("event.arrival_lags_us")).alias("known_us"),
        F.col("event.event_ids").alias("event_id"), F.col("event.event_types").alias("event_type"),
        F.col("event.item_ids").alias("item_id"), F.col("event.prices").alias("price"),
    ).join(bots, on="user_id", how="left")  # bots: user_id is unique


def known_in(events: DataFrame, span: Span) -> DataFrame:
    """Events of people that were known at the end of the span."""
    return events.where((F.col("known_us") <= span.end_us) & _person_until(F.lit(span.end_us)))


def points_in(features: DataFrame, events: DataFrame, split: TimeSplit) -> DataFrame:
    """USER_FEATURES rows of people that serve as points: with split, at_us and `bought`.

    `bought` is 1 if the user has a purchase in [as_of, as_of + horizon): every purchase on record, as it is truth
    and not input. Rows whose horizon crosses a boundary of the split are left out.
    """
    at_us = F.unix_micros("as_of")
    purchases = events.where(F.col("event_type") == "purchase").groupBy("user_id").agg(
        F.collect_set("at_us").alias("purchases"))
    bots = events.where(F.col("bot_us").isNotNull()).groupBy("user_id").agg(F.min("bot_us").alias("bot_us"))
    covering = F.filter(_spans(split), lambda span: (span["start_us"] <= F.col("at_us"))
                        & (F.col("at_us") + split.horizon_us <= span["end_us"]) & _person_until(span["end_us"]))
    in_horizon = F.exists("purchases", lambda purchase: (purchase >= F.col("at_us"))
                          & (purchase < F.col("at_us") + split.horizon_us))
    return (
        features.withColumn("at_us", at_us)
        .join(bots, on="user_id", how="left")  # both right sides: user_id is unique
        .withColumn("split", F.get(F.transform(covering, lambda span: span["name"]), 0))
        .where(F.col("split").isNotNull())
        .join(purchases, on="user_id", how="left")
        .withColumn("bought", F.coalesce(in_horizon, F.lit(False)).cast("int"))
        .drop("purchases", "bot_us")
    )


def build_examples(
    events: DataFrame, points: DataFrame, vocabulary: DataFrame, *,
    split: TimeSplit, statistics: Statistics, feature_names: Sequence[str], max_length: int,
) -> DataFrame:
    """Rows of EXAMPLES, with user_id, from `events_of` and `points_in`; stretches that teach nothing are left out."""
    views = _views(encode(events, vocabulary, statistics), split)
    placed = add_target(add_place(views), min_target=FIRST_ITEM)
    stretches = _collect_events(_explode_stretches(placed, max_length), max_length)
    placed_points = _collect_points(
        _place_points(views, points.withColumn("features", standard_features(feature_names, statistics))), max_length)
    key = ["split", "user_id", "stretch"]
    examples = stretches.join(placed_points, on=key, how="left").select(  # key is unique on both sides
        "user_id", F.xxhash64(*key).alias("example_id"),
        *[F.col(f"events.{name}").alias(name) for name in ("item", "type", "gap", "price", "target")],
        *[_or_empty(F.col(f"points.{name}"), type_).alias(name)
          for name, type_ in (("point", "int"), ("idle", "float"), ("bought", "int"))],
        _or_empty(F.flatten("points.features"), "float").alias("features"), "split",
    )
    return examples.where(F.exists("target", lambda target: target > 0) | (F.size("point") > 0))


def scoring_examples(
    sessions: DataFrame, user_features: DataFrame, vocabulary: DataFrame, manifest: Manifest, as_of: datetime,
    max_length: int | None = None,
) -> DataFrame:
    """One row per user with a known event: the last `max_length` events known at `as_of`, and one point there.

    Columns user_id, the batch columns of EXAMPLES (targets and `bought` 0), `seen_items` and `purchased_items`
    (vocabulary ids over all known events, not only those in the sequence) and `num_events` (in the sequence).
    A user without a row in `user_features` at `as_of` has been away for longer than every window: the features
    take their declared `missing` values.
    """
    as_of_us, length = to_us(as_of), max_length or manifest.max_length
    known = events_of(sessions).where(F.col("known_us") <= as_of_us).withColumn("split", F.lit("score"))
    placed = add_place(encode(known, vocabulary, manifest.statistics)).withColumn("target", F.lit(0))
    real = F.col("item") >= FIRST_ITEM
    users = placed.groupBy("user_id").agg(
        _in_order(F.when(F.col("reverse") < length, _event())).alias("events"),
        F.max("at_us").alias("last_us"),
        F.array_sort(F.collect_set(F.when(real, F.col("item")))).alias("seen_items"),
        F.array_sort(F.collect_set(F.when(real & (F.col("event_type") == "purchase"), F.col("item"))))
        .alias("purchased_items"),
    )
    filled = users.join(  # user_id is unique at one as-of time
        user_features.where(F.unix_micros("as_of") == as_of_us).select("user_id", *manifest.feature_names),
        on="user_id", how="left",
    ).fillna({f.name: f.missing for f in USER_FEATURES_DECLARED if f.name in manifest.feature_names})
    num_events = F.size("events")
    return filled.select(
        "user_id", *[F.col(f"events.{name}").alias(name) for name in ("item", "type", "gap", "price", "target")],
        F.array(num_events - 1).alias("point"),
        F.array(log_seconds(F.lit(as_of_us) - F.col("last_us"))).alias("idle"),
        standard_features(manifest.feature_names, manifest.statistics).alias("features"),
        F.array(F.lit(0)).alias("bought"), "seen_items", "purchased_items", num_events.alias("num_events"),
    )


def encode(events: DataFrame, vocabulary: DataFrame, statistics: Statistics) -> DataFrame:
    """`events` with item, type and standardised price as the model reads them."""
    types = F.array(*[F.lit(name) for name in EVENT_TYPES])
    return (
        add_item(events, vocabulary)
        .withColumn("type", F.array_position(types, F.col("event_type")).cast("int"))
        .withColumn("price", standard_price(F.col("price"), statistics))
    )


def add_place(views: DataFrame) -> DataFrame:
    """Adds each event's place among the user's events of the view: position, reverse (0 is the last) and gap."""
    user = Window.partitionBy("split", "user_id")
    history = user.orderBy("at_us", "event_id")
    everything = user.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
    since_last = F.col("at_us") - F.lag("at_us").over(history)
    return (
        views.withColumn("position", F.row_number().over(history) - 1)
        .withColumn("gap", F.coalesce(log_seconds(since_last), F.lit(0.0).cast("float")))
        .withColumn("total", F.count(F.lit(1)).over(everything))
        .withColumn("reverse", (F.col("total") - 1 - F.col("position")).cast("int"))
    )


def add_target(placed: DataFrame, *, min_target: int) -> DataFrame:
    """Adds `target`: the next event's item if it has one, it is another one and the event lies in the split; else 0.

    Touching the same item again (view, cart, purchase) is not something to recommend. An unknown item is no
    training target; in valid and test it stays, as id 2, and counts as missed.
    """
    history = Window.partitionBy("split", "user_id").orderBy("at_us", "event_id")
    next_name, next_item = F.lead("item_id").over(history), F.lead("item").over(history)
    another = next_name.isNotNull() & ~next_name.eqNullSafe(F.col("item_id"))
    inside = F.lead("at_us").over(history) >= F.col("start_us")
    countable = (next_item >= min_target) | (F.col("split") != "train")
    return placed.withColumn("target", F.when(another & inside & countable, next_item).otherwise(0))


def log_seconds(microseconds: Column) -> Column:
    return F.log1p(microseconds / SECOND_US).cast("float")


def _views(events: DataFrame, split: TimeSplit) -> DataFrame:
    """One row per event and split at whose end it was known, with the split's start and the owned events' number."""
    known = F.filter(_spans(split), lambda span: (F.col("known_us") <= span["end_us"]) & _person_until(span["end_us"]))
    views = events.withColumn("span", F.explode(known)).select(
        "*", F.col("span.name").alias("split"), F.col("span.start_us").alias("start_us")).drop("span", "bot_us")
    everything = Window.partitionBy("split", "user_id").rowsBetween(
        Window.unboundedPreceding, Window.unboundedFollowing)
    before = F.sum((F.col("at_us") < F.col("start_us")).cast("int")).over(everything)
    total = F.count(F.lit(1)).over(everything)
    return views.withColumn("owned", (total - F.greatest(before - 1, F.lit(0))).cast("int"))


def _explode_stretches(placed: DataFrame, max_length: int) -> DataFrame:
    """One row per event and stretch that sees it; the target stays only where the stretch owns the event."""
    stride = _stride(max_length)
    reverse, own = F.col("reverse"), owning_stretch(F.col("reverse"), F.col("owned"), max_length)
    first = F.when(reverse < max_length, 0).otherwise(_div(reverse - max_length, stride) + 1)
    seeing = F.when(first <= own, F.sequence(first, own)).otherwise(F.array().cast("array<int>"))
    exploded = placed.withColumn("own", own).withColumn("stretch", F.explode(seeing))
    return exploded.withColumn("target", F.when(F.col("stretch") == F.col("own"), F.col("target")).otherwise(0))


def owning_stretch(reverse: Column, owned: Column, max_length: int) -> Column:
    """Number of the stretch that owns the event `reverse` places from the end, of `owned` events to be owned."""
    stride = _stride(max_length)
    oldest = _div(F.greatest(owned - max_length, F.lit(0)) + stride - 1, stride)
    return F.least(_div(reverse, stride), oldest)


def _collect_events(exploded: DataFrame, max_length: int) -> DataFrame:
    return exploded.groupBy("split", "user_id", "stretch").agg(_in_order(_event()).alias("events"))


def _event() -> Column:
    return F.struct("position", "item", "type", "gap", "price", "target")


def _in_order(structs: Column) -> Column:
    # the first field (position or time) is unique within the group, so the order is total
    return F.sort_array(F.collect_list(structs))


def _place_points(views: DataFrame, points: DataFrame) -> DataFrame:
    """Points that may be used, each with the place of the last event before it."""
    timeline = views.select(
        "split", "user_id", "at_us", "known_us", "owned", F.lit(1).alias("is_event"),
        F.lit(0).alias("bought"), F.array().cast("array<float>").alias("features"),
    ).unionByName(points.select(
        "split", "user_id", "at_us", F.lit(None).cast("bigint").alias("known_us"),
        F.lit(None).cast("int").alias("owned"), F.lit(0).alias("is_event"), "bought", "features",
    ))
    user = Window.partitionBy("split", "user_id")
    # an event at the very as-of time is not before it, so the point comes first; ties among events do not matter
    so_far = user.orderBy("at_us", "is_event").rowsBetween(Window.unboundedPreceding, Window.currentRow)
    everything = user.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
    event_us = F.when(F.col("is_event") == 1, F.col("at_us"))
    placed = timeline.select(
        "*", F.sum("is_event").over(so_far).alias("before"), F.sum("is_event").over(everything).alias("total"),
        F.max("owned").over(everything).alias("user_owned"), F.max("known_us").over(so_far).alias("all_known_us"),
        F.max(event_us).over(so_far).alias("last_us"),
    )
    usable = (F.col("is_event") == 0) & (F.col("before") > 0) & (F.col("all_known_us") <= F.col("at_us"))
    return placed.where(usable).select(
        "split", "user_id", "at_us", "bought", "features", (F.col("before") - 1).cast("int").alias("position"),
        F.col("total").cast("int").alias("total"), F.col("user_owned").alias("owned"),
        log_seconds(F.col("at_us") - F.col("last_us")).alias("idle"),
    )


def _collect_points(placed: DataFrame, max_length: int) -> DataFrame:
    stretch = owning_stretch(F.col("total") - 1 - F.col("position"), F.col("owned"), max_length)
    begins = F.greatest(F.col("total") - F.col("stretch") * _stride(max_length) - max_length, F.lit(0))
    point = F.struct("at_us", (F.col("position") - begins).cast("int").alias("point"), "idle", "bought", "features")
    return placed.withColumn("stretch", stretch).groupBy("split", "user_id", "stretch").agg(
        _in_order(point).alias("points"))


def _stride(max_length: int) -> int:
    return max_length - max_length // 4


def _div(a: Column, b: int) -> Column:
    return F.floor(a / F.lit(b)).cast("int")  # whole numbers far below 2**53


def _spans(split: TimeSplit) -> Column:
    return F.array(*[
        F.struct(F.lit(s.name).alias("name"), F.lit(s.start_us).cast("bigint").alias("start_us"),
                 F.lit(s.end_us).cast("bigint").alias("end_us"))
        for s in split.spans
    ])


def _person_until(end_us: Column) -> Column:
    return F.col("bot_us").isNull() | (F.col("bot_us") >= end_us)


def _or_empty(values: Column, type_: str) -> Column:
    return F.coalesce(values, F.array().cast(f"array<{type_}>"))
