"""USER_FEATURES and ITEM_FEATURES at as-of times, put together from the partial aggregates of days.

Three kinds of rows go into one aggregate, each with the as-of times it counts at:

    tile       its parts            from known_from to the end of the longest window
    entity     nothing              from the first time it is known, for ever: it has a row also with empty windows
    counts     different values     at one as-of time
"""

from __future__ import annotations

from datetime import datetime, timedelta

import pyspark.sql.functions as F
from pyspark.sql import DataFrame, Window

from purchasepath.features.aggregations import add_derived, finish, merged_name, merged_parts
from purchasepath.features.as_of import as_of_us, positions_from
from purchasepath.features.persons import as_persons, hand_to_visitors
from purchasepath.tables.features import (
    ITEM_FEATURES,
    ITEM_FEATURES_DECLARED,
    LONGEST_WINDOW_DAYS,
    USER_FEATURES,
    USER_FEATURES_DECLARED,
    Feature,
)
from purchasepath.tables.partials import TOUCH_COLUMNS, distinct_inputs
from purchasepath.times import DAY_US

_FOREVER_US = 2**62
_LONGEST_US = LONGEST_WINDOW_DAYS * DAY_US
_CATEGORY = Feature("category", "item", "category", "last", LONGEST_WINDOW_DAYS, "last known category")


def merge_users(
    partials: DataFrame, touches: DataFrame, times: list[datetime], behind: DataFrame | None = None
) -> DataFrame:
    """USER_FEATURES at `times` (evenly spaced) from all USER_PARTIALS and TOUCHES up to the last of them.

    With `behind` (of `persons_behind`) the visitors of a person get the features of the person.
    """
    merged = _merge("user", partials, touches, USER_FEATURES_DECLARED, times, behind=behind)
    if behind is not None:
        visitors = _known_entities(partials, "user_id").transform(_at_times, times)
        merged = hand_to_visitors(merged, visitors, behind)
    return USER_FEATURES.select(merged)


def merge_items(partials: DataFrame, touches: DataFrame, times: list[datetime]) -> DataFrame:
    """ITEM_FEATURES at `times` (evenly spaced) from all ITEM_PARTIALS and TOUCHES up to the last of them."""
    merged = _merge("item", partials, touches, ITEM_FEATURES_DECLARED, times, (_CATEGORY,))
    return ITEM_FEATURES.select(merged)


def _merge(entity: str, partials: DataFrame, touches: DataFrame, features: tuple[Feature, ...],
           times: list[datetime], more: tuple[Feature, ...] = (), behind: DataFrame | None = None) -> DataFrame:
    key = f"{entity}_id"
    known_us = F.unix_micros("known_from").alias("from_us")
    tile_us = F.unix_micros("tile")
    tiles = keep_window(partials, times).select(
        "*", known_us, (tile_us + _LONGEST_US).alias("until_us"), tile_us.alias("tile_us"))
    rows = tiles.unionByName(_known_entities(partials, key), allowMissingColumns=True)
    if behind is not None:
        rows = rows.transform(_at_times, times).transform(as_persons, behind).transform(_only_then)
    for name in distinct_inputs(features):
        counts = count_distinct(keep_window(touches, times), key, name, features, times, behind)
        rows = rows.unionByName(counts, allowMissingColumns=True)
    merged = (
        rows.repartition(key)  # before the rows are multiplied by the as-of times
        .transform(_at_times, times)
        .withColumn("age_us", F.col("as_of_us") - F.col("tile_us"))
        .groupBy(key, "as_of_us")
        .agg(*(column.alias(name) for name, column in merged_parts((*features, *more)).items()))
    )
    as_of = F.timestamp_micros("as_of_us")
    finished = merged.select(
        key, as_of.alias("as_of"), F.to_date(as_of).alias("as_of_date"),
        *(finish(f) for f in features if not f.derived),
        *(F.col(merged_name("last", f)).alias(f.name) for f in more))
    return add_derived(finished, features)


def count_distinct(touches: DataFrame, key: str, name: str, features: tuple[Feature, ...],
                   times: list[datetime], behind: DataFrame | None = None) -> DataFrame:
    """One row per entity and as-of time: `distinct_<name>_<window>` for the features that count it; exact.

    At any time exactly one touch of an entity and a value is known and not superseded by a later one: the last.
    Counting those that lie in the window counts the values, without keeping sets. With `behind` the entities are
    persons: of the last touches of its visitors the latest is the person's.
    """
    counting = [f for f in features if f.aggregation == "count_distinct" and f.input == name]
    pair = sorted({key, TOUCH_COLUMNS[name]})
    touched = touches.dropna(subset=pair).select(
        *pair, F.unix_micros("tile").alias("tile_us"), F.unix_micros("known_from").alias("from_us"))
    if "user_id" in pair:
        touched = touched.repartition("user_id")  # serves every pair that has a user, and the counts of users
    later = Window.partitionBy(*pair).orderBy("tile_us", "from_us").rowsBetween(1, Window.unboundedFollowing)
    superseded_us = F.coalesce(F.min("from_us").over(later), F.lit(_FOREVER_US))
    standing = touched.withColumn("until_us", F.least(superseded_us - 1, F.col("tile_us") + _LONGEST_US)).select(
        *pair, "tile_us", "from_us", "until_us").transform(_at_times, times)
    if behind is not None:
        standing = as_persons(standing, behind).groupBy(*pair, "as_of_us").agg(F.max("tile_us").alias("tile_us"))
    age_us = F.col("as_of_us") - F.col("tile_us")
    counts = standing.groupBy(key, "as_of_us").agg(*(
        F.count_if(age_us <= _days(f) * DAY_US).alias(merged_name("distinct", f)) for f in counting))
    return _only_then(counts)


def keep_window(days: DataFrame, times: list[datetime]) -> DataFrame:
    """Partitions that lie in some window of `times`."""
    first, last = times[0] - timedelta(days=LONGEST_WINDOW_DAYS), times[-1]
    return days.where(F.col("event_date").between(first.date(), last.date()))


def _at_times(rows: DataFrame, times: list[datetime]) -> DataFrame:
    """One row per row and as-of time (`as_of_us`) in [from_us, until_us]."""
    positions = positions_from(times, F.col("from_us"), F.col("until_us"))
    return rows.withColumn("position", F.explode(positions)).withColumn(
        "as_of_us", as_of_us(times, F.col("position"))).drop("position", "from_us", "until_us")


def _only_then(rows: DataFrame) -> DataFrame:
    """Rows at their as-of time alone: `as_of_us` becomes from_us and until_us."""
    return rows.withColumns({"from_us": F.col("as_of_us"), "until_us": F.col("as_of_us")}).drop("as_of_us")


def _known_entities(partials: DataFrame, key: str) -> DataFrame:
    """Every entity, from the first time it is known on, for ever."""
    known = partials.groupBy(key).agg(F.min(F.unix_micros("known_from")).alias("from_us"))
    return known.withColumn("until_us", F.lit(_FOREVER_US))


def _days(feature: Feature) -> int:
    assert feature.window_days is not None
    return feature.window_days
