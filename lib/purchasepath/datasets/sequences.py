"""Examples from sessions: a user's events in order, what to predict at each, and the as-of points among them.

Training and scoring go through the same functions: `events_of`, `encode`, `add_place`, `standard_features`.

A user's known events stand in order (as in EVENTS), and are cut into stretches of at most `max_length` events,
the first quarter of which a stretch shares with the one before as context:

    events      0  1  2  3  4  5  6  7  8  9  10 11      max_length 8
    stretch 0   o  o  o  o  o  o  o  o                   o: owned
    stretch 1                     c  c  o  o  o  o       c: context, nothing to predict here

Every event is owned once, so every target counts once. In valid and test the owned events begin with the last one
before the split, and stretch 0 three quarters of `max_length` before that. Stretches are counted from the oldest one:
where an event stands in its stretch, and with how much context, must not depend on how many events follow it.

A point is an as-of time: its hidden state is the one after the last event before it. Events come in order of time,
not of arrival, so a point is used only if every event before it had arrived by then; the job counts the others.
Visitors flagged as bots before a split's end are left out of that split; they are scored like others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame, Window

from purchasepath.datasets.manifest import (
    FIRST_ITEM,
    NO_PURCHASE_FOLLOWS,
    NOT_ASKED,
    PURCHASE_FOLLOWS,
    Manifest,
    Statistics,
)
from purchasepath.datasets.split import Span, TimeSplit
from purchasepath.datasets.statistics import standard_features, standard_price
from purchasepath.datasets.vocabulary import add_item
from purchasepath.features.labels import add_labels
from purchasepath.sessions.order import order_in_instant
from purchasepath.tables.catalog import EVENT_TYPES
from purchasepath.tables.features import USER_FEATURES_DECLARED
from purchasepath.times import SECOND_US, known_from_us, to_us

INPUT_FIELDS = ("item", "type", "gap", "price")
EVENT_FIELDS = (*INPUT_FIELDS, "target", "outcome")
"""List columns of EXAMPLES with an element per event; the inputs are all that is known where a user is scored."""
_ORDER = ("at_us", "is_event", "in_instant")
"""Order within a user. An event at the very as-of time is not before it, so the point comes first."""


def events_of(sessions: DataFrame) -> DataFrame:
    """One row per event: user_id, at_us, known_us, in_instant, event_type, item_id, price, outcome, ended_us, bot_us.

    `in_instant` orders a user's events of one time. `known_us` is the first as-of time at which it is known. `outcome`
    is that of its session (see EXAMPLES), which ended at `ended_us`. `bot_us` is when the user's first session that was
    flagged as a bot's began; null for people.
    """
    at = F.col("place")
    # one array is exploded and the others are asked at its places: zipped, every event would be a row of objects
    exploded = sessions.join(_bots(sessions), on="user_id", how="left").select(  # bots: user_id is unique
        "user_id", F.unix_micros("started_at").alias("started_us"), F.unix_micros("ended_at").alias("ended_us"),
        F.array_position("event_types", F.lit("purchase")).alias("bought_at"),  # counted from 1; 0: nowhere
        "session_id", "first_tie_order", "event_types", "item_ids", "prices", "arrival_lags_us", "bot_us",
        F.posexplode("offsets_us").alias("place", "offset_us"),
    )
    at_us = F.col("started_us") + F.col("offset_us")
    outcome = (
        F.when(F.col("bought_at") == 0, NO_PURCHASE_FOLLOWS)
        .when(at + 1 < F.col("bought_at"), PURCHASE_FOLLOWS).otherwise(NOT_ASKED)
    )
    return exploded.select(
        "user_id", at_us.alias("at_us"), known_from_us(at_us, at_us + F.get("arrival_lags_us", at)).alias("known_us"),
        order_in_instant(F.col("started_us"), at).alias("in_instant"), F.get("event_types", at).alias("event_type"),
        F.get("item_ids", at).alias("item_id"), F.get("prices", at).alias("price"), outcome.alias("outcome"),
        "ended_us", "bot_us",
    )


def known_in(events: DataFrame, span: Span) -> DataFrame:
    """Events of people that were known at the end of the span."""
    return events.where((F.col("known_us") <= span.end_us) & _person_until(F.lit(span.end_us)))


def points_in(features: DataFrame, sessions: DataFrame, labels: DataFrame, split: TimeSplit) -> DataFrame:
    """USER_FEATURES rows of people that serve as points: with split, start_us, at_us and `labels` (see EXAMPLES).

    `labels` are those of `features.labels`. Rows of which every horizon crosses a boundary of the split are left out.
    """
    at_us, shortest_us = F.col("at_us"), min(split.horizons_us.values())
    covering = F.filter(_spans(split), lambda span: (span["start_us"] <= at_us)
                        & (at_us + shortest_us <= span["end_us"]) & _person_until(span["end_us"]))
    within = [F.when(at_us + us <= F.col("span.end_us"), F.col(task)).otherwise(math.nan).cast("float")
              for task, us in split.horizons_us.items()]
    return (
        features.withColumn("at_us", F.unix_micros("as_of"))
        .join(_bots(sessions), on="user_id", how="left")  # user_id is unique among the bots
        .withColumn("span", F.get(covering, 0))
        .where(F.col("span").isNotNull())
        .transform(add_labels, labels)
        .withColumns({"labels": F.array(*within), "split": F.col("span.name"), "start_us": F.col("span.start_us")})
        .drop(*split.horizons_us, "bot_us", "span")
    )


def build_examples(
    events: DataFrame, points: DataFrame, vocabulary: DataFrame, *,
    split: TimeSplit, statistics: Statistics, feature_names: Sequence[str], max_length: int, num_known: int,
) -> DataFrame:
    """Rows of EXAMPLES, with user_id, from `events_of` and `points_in`; stretches that teach nothing are left out.

    Items from the id `num_known` on have no history: the model meets them, and is not taught to expect them.
    """
    encoded = encode(events, vocabulary, statistics)
    points = points.withColumn("features", standard_features(feature_names, statistics))
    placed = add_place(_timeline(encoded, points, split))
    key = ["split", "user_id", "stretch"]
    stretches = _explode_stretches(add_target(placed, num_known), max_length).groupBy(*key).agg(
        _in_order(F.when(F.col("is_event") == 1, _input("target", "outcome"))).alias("events"),
        _in_order(F.when(F.col("is_event") == 0, _point(max_length))).alias("points"),
    )
    examples = stretches.select(
        "user_id", F.xxhash64(*key).alias("example_id"), F.xxhash64("user_id").alias("visitor"),
        *[F.col(f"events.{name}").alias(name) for name in EVENT_FIELDS],
        *[F.col(f"points.{name}").alias(name) for name in ("point", "idle")],
        *[F.flatten(f"points.{name}").alias(name) for name in ("features", "labels")], "split",
    )
    return examples.where(F.exists("target", lambda target: target > 0) | (F.size("point") > 0))


def scoring_examples(
    sessions: DataFrame, user_features: DataFrame, vocabulary: DataFrame, manifest: Manifest, as_of: datetime,
    max_length: int | None = None,
) -> DataFrame:
    """One row per user with a known event: the last `max_length` events known at `as_of`, and one point there.

    Columns user_id, those of EXAMPLES that a model reads, `seen_items` and `purchased_items`
    (vocabulary ids over all known events, not only those in the sequence) and `num_events` (in the sequence).
    A user without a row in `user_features` at `as_of` has been away for longer than every window: the features
    take their declared `missing` values.
    """
    as_of_us, length = to_us(as_of), max_length or manifest.max_length
    known = encode(events_of(sessions).where(F.col("known_us") <= as_of_us), vocabulary, manifest.statistics)
    line = known.withColumns({"split": F.lit("score"), "start_us": F.lit(as_of_us), "is_event": F.lit(1)})
    placed = add_place(line)
    real = F.col("item") >= FIRST_ITEM
    users = placed.groupBy("user_id").agg(
        _in_order(F.when(F.col("reverse") < length, _input())).alias("events"),
        F.max("at_us").alias("last_us"),
        F.array_sort(F.collect_set(F.when(real, F.col("item")))).alias("seen_items"),
        F.array_sort(F.collect_set(F.when(real & (F.col("event_type") == "purchase"), F.col("item"))))
        .alias("purchased_items"),
    )
    filled = users.join(  # user_id is unique at one as-of time
        user_features.where(F.unix_micros("as_of") == as_of_us).select("user_id", *manifest.feature_names),
        on="user_id", how="left",
    ).fillna({f.name: f.missing for f in USER_FEATURES_DECLARED if f.name in manifest.feature_names})
    num_events, idle_s = F.size("events"), (F.lit(as_of_us) - F.col("last_us")) / SECOND_US
    return filled.select(
        "user_id", *[F.col(f"events.{name}").alias(name) for name in INPUT_FIELDS],
        F.array(num_events - 1).alias("point"), F.array(F.log1p(idle_s).cast("float")).alias("idle"),
        standard_features(manifest.feature_names, manifest.statistics).alias("features"),
        "seen_items", "purchased_items", num_events.alias("num_events"),
    )


def encode(events: DataFrame, vocabulary: DataFrame, statistics: Statistics) -> DataFrame:
    """`events` with item, type and standardised price as the model reads them."""
    types = F.array(*[F.lit(name) for name in EVENT_TYPES])
    return (
        add_item(events, vocabulary)
        .withColumn("type", F.array_position(types, F.col("event_type")).cast("int"))
        .withColumn("price", standard_price(F.col("price"), statistics))
    )


def add_place(timeline: DataFrame) -> DataFrame:
    """Adds where each event and each point stands among the user's events of the split.

    position: of the event itself, or of the last event before the point; reverse: the same from the end, 0 is last;
    since: log(1 + seconds since the event before), 0 for the first; all_known_us: when everything up to here was known;
    total: events; owned: events that stretches have to own.
    """
    user = Window.partitionBy("split", "user_id")
    so_far = user.orderBy(*_ORDER).rowsBetween(Window.unboundedPreceding, Window.currentRow)
    earlier = user.orderBy(*_ORDER).rowsBetween(Window.unboundedPreceding, -1)
    everything = user.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
    is_event = F.col("is_event")
    event_us = F.when(is_event == 1, F.col("at_us"))
    before_split = F.sum(F.when(F.col("at_us") < F.col("start_us"), is_event).otherwise(0)).over(everything)
    seconds = (F.col("at_us") - F.max(event_us).over(earlier)) / SECOND_US
    return (
        timeline.withColumns({
            "position": (F.sum("is_event").over(so_far) - 1).cast("int"),
            "total": F.sum("is_event").over(everything).cast("int"),
            "before_split": before_split.cast("int"),
            "since": F.coalesce(F.log1p(seconds), F.lit(0.0)).cast("float"),
            "all_known_us": F.max("known_us").over(so_far),
        })
        .withColumn("reverse", F.col("total") - 1 - F.col("position"))
        .withColumn("owned", F.col("total") - F.greatest(F.col("before_split") - 1, F.lit(0)))
    )


def add_target(placed: DataFrame, num_known: int) -> DataFrame:
    """Adds `target`: the next event's item if it has one, it is another one and the event lies in the split; else 0.

    Touching the same item again (view, cart, purchase) is not something to recommend. An item without a history, id 2
    or an id from `num_known` on, is no training target; in valid and test it stays, and id 2 counts as missed.
    """
    # the next event, over points in between; only SQL has `ignore nulls` for lead
    following = F.expr(
        "lead(if(is_event = 1, struct(item_id, item, at_us), null)) ignore nulls "
        f"over (partition by split, user_id order by {', '.join(_ORDER)})"
    )
    upcoming = placed.withColumn("upcoming", following)
    name, item = F.col("upcoming.item_id"), F.col("upcoming.item")
    another = name.isNotNull() & ~name.eqNullSafe(F.col("item_id"))
    inside = F.col("upcoming.at_us") >= F.col("start_us")
    countable = item.between(FIRST_ITEM, num_known - 1) | (F.col("split") != "train")
    return upcoming.withColumn("target", F.when(another & inside & countable, item).otherwise(0)).drop("upcoming")


def owning_stretch(place: Column, max_length: int) -> Column:
    """Number of the stretch that owns the event `place` places behind the begin of stretch 0."""
    stride = _stride(max_length)
    return _div(F.greatest(place - max_length, F.lit(-1)) + stride, stride)


def _timeline(events: DataFrame, points: DataFrame, split: TimeSplit) -> DataFrame:
    """Events and points of a user on one line of time per split: with split and start_us.

    An event stands in every split at whose end it was known, a point in its own. Rows are multiplied only after they
    have been brought together by user.
    """
    lines = events.withColumn("is_event", F.lit(1)).unionByName(
        points.select("user_id", "at_us", F.lit(0).alias("is_event"), "split", "labels", "features"),
        allowMissingColumns=True)
    seen_in = F.filter(_spans(split), lambda span: F.when(
        F.col("is_event") == 1, (F.col("known_us") <= span["end_us"]) & _person_until(span["end_us"]),
    ).otherwise(span["name"] == F.col("split")))
    over_us = F.least(F.col("span.end_us"), F.lit(to_us(split.sessions_over)))
    asked = (F.col("at_us") >= F.col("span.start_us")) & (F.col("ended_us") < over_us)
    return lines.repartition("user_id").withColumn("span", F.explode(seen_in)).select(
        F.col("span.name").alias("split"), F.col("span.start_us").alias("start_us"), "user_id", "at_us", "is_event",
        "in_instant", "known_us", "item_id", "item", "type", "price",
        F.when(asked, F.col("outcome")).otherwise(NOT_ASKED).alias("outcome"),
        "labels", "features")


def _explode_stretches(placed: DataFrame, max_length: int) -> DataFrame:
    """One row per event and stretch that sees it, and one per usable point, in the stretch that owns its event.

    What an event has to predict stays only where the stretch owns it.
    """
    place = F.col("position") - _begin(max_length)
    own, newest = owning_stretch(place, max_length), owning_stretch(F.col("total") - 1 - _begin(max_length), max_length)
    usable = (F.col("position") >= 0) & (F.col("all_known_us") <= F.col("at_us"))
    nowhere = F.array().cast("array<int>")
    seen_by = (
        F.when(F.col("is_event") == 0, F.when(usable, F.array(own)).otherwise(nowhere))
        .when(place >= 0, F.sequence(own, F.least(_div(place, _stride(max_length)), newest))).otherwise(nowhere)
    )
    exploded = placed.withColumn("own", own).withColumn("stretch", F.explode(seen_by))
    asked = (F.col("stretch") == F.col("own")) & (F.col("position") >= F.col("total") - F.col("owned"))
    return exploded.withColumns({name: F.when(asked, F.col(name)).otherwise(0) for name in ("target", "outcome")})


def _begin(max_length: int) -> Column:
    """Position of the event at which stretch 0 begins."""
    return F.greatest(F.col("total") - F.col("owned") - _stride(max_length), F.lit(0))


def _input(*more: str) -> Column:
    return F.struct("position", "item", "type", F.col("since").alias("gap"), "price", *more)


def _point(max_length: int) -> Column:
    begin = _begin(max_length) + F.col("stretch") * _stride(max_length)
    return F.struct("at_us", (F.col("position") - begin).alias("point"), F.col("since").alias("idle"), "labels",
                    "features")


def _in_order(structs: Column) -> Column:
    # nulls are not collected; the first field (position or time) is unique within the group, so the order is total
    return F.sort_array(F.collect_list(structs))


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


def _bots(sessions: DataFrame) -> DataFrame:
    started_us = F.unix_micros("started_at")
    return sessions.where("is_bot").groupBy("user_id").agg(F.min(started_us).alias("bot_us"))
