"""The algebra of features: events → parts of a tile → parts merged over a window → the feature.

    events of a tile     aggregate_part    total_views = 3, seen_views = 11:20 …
    tiles of a window    merged_parts      total_views_7d = 3 + 0 + 5 …, days_views_7d = bits of active days
    one row              finish            views_7d = 8.0

Every part is mergeable in any order and to the last digit: sums are kept in whole millionths. All buffers but
those of `last` are plain numbers: with strings or structs in them Spark sorts its input instead of hashing it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame, Window

from purchasepath.tables.features import Feature
from purchasepath.tables.partials import Kind, Part, parts_of
from purchasepath.times import DAY_US

MILLION = 1_000_000


def used_inputs(features: Iterable[Feature]) -> list[str]:
    """Inputs that the features read from events, each once, in order of declaration."""
    return list(dict.fromkeys(f.input for f in features if not f.derived))


def input_columns(names: Iterable[str], inputs: Mapping[str, Callable[[], Column]]) -> dict[str, Column]:
    """Column `in_<input>` for every named input."""
    return {f"in_{name}": inputs[name]() for name in names}


def aggregate_part(part: Part) -> Column:
    """The part over events with columns `in_<input>` and `event_us`; null where no event has the input.

    For `last` the events also need their `position`, a total order.
    """
    return _FROM_EVENTS[part.kind](F.col(f"in_{part.input}"))


def merge_part(kind: Kind, column: Column) -> Column:
    """Several values of a part as one. Not for `last`, which goes with its `last_us`."""
    return F.sum(column) if kind in ("count", "total") else F.min(column) if kind == "low" else F.max(column)


def merge_last(name: str, where: Column | None = None) -> Column:
    """`last_<name>` of the row with the greatest (last_us, last) among those that have one and satisfy `where`."""
    found = F.col(f"last_us_{name}").isNotNull()
    pair = F.when(found if where is None else found & where, F.struct(f"last_us_{name}", f"last_{name}"))
    return F.max(pair)


def merged_parts(features: Iterable[Feature]) -> dict[str, Column]:
    """`<part>_<window>` for all that the features read, over tiles with their parts and `age_us`.

    `age_us` is the time from the start of the tile to the as-of time. Windows are whole numbers of tiles.
    """
    columns: dict[str, Column] = {}
    for f in features:
        if not f.derived:
            columns |= {name: column for name, column in _merged_parts(f).items() if name not in columns}
    return columns


def finish(feature: Feature) -> Column:
    """The feature from its merged parts; `missing` where there is none. Not for derived features."""
    found = _FINISH[feature.aggregation](lambda kind: F.col(merged_name(kind, feature)))
    return F.coalesce(found.cast("double"), F.lit(float(feature.missing))).alias(feature.name)


def merged_name(kind: str, feature: Feature) -> str:
    """Column of a part of the feature's input, merged over the feature's window."""
    window = "" if feature.window_days is None else f"_{feature.window_days}d"
    return f"{kind}_{feature.input}{window}"


def add_derived(frame: DataFrame, features: Iterable[Feature]) -> DataFrame:
    """`frame` with the features that read other features, in order of declaration.

    As many at once as do not read each other: Spark analyses the whole plan anew for every step.
    """
    step: dict[str, Column] = {}
    for feature in features:
        if feature.derived:
            if {feature.input, feature.over} & step.keys():
                frame, step = frame.withColumns(step), {}
            step[feature.name] = derive(feature)
    return frame.withColumns(step) if step else frame


def derive(feature: Feature) -> Column:
    """A derived feature from the columns of the features it reads."""
    value = F.col(feature.input)
    missing = F.lit(float(feature.missing))
    if feature.aggregation == "ratio":
        over = F.col(feature.over)
        return F.when(over != 0, value / over).otherwise(missing)
    if feature.aggregation == "excess":
        return F.greatest(value - F.col(feature.over), F.lit(0.0))
    if feature.aggregation == "rank_in_category":
        known = F.col("category").isNotNull() & (value > 0)
        peers = Window.partitionBy("as_of", "category", known)
        alone = F.count(F.lit(1)).over(peers) == 1
        return F.when(known & ~alone, F.percent_rank().over(peers.orderBy(value))).otherwise(missing)
    raise ValueError(f"{feature.name}: {feature.aggregation} is not a derived aggregation")


def _merged_parts(feature: Feature) -> dict[str, Column]:
    assert feature.window_days is not None
    inside = F.col("age_us") <= feature.window_days * DAY_US
    if feature.aggregation == "count_distinct":  # counted by `merging.count_distinct`, one row per as-of time
        name = merged_name("distinct", feature)
        return {name: F.max(name)}
    if feature.aggregation == "active_days":
        day = F.floor((F.col("age_us") - 1) / DAY_US).cast("int")  # 0 for the last 24 hours
        bit = F.call_function("shiftleft", F.lit(1).cast("bigint"), day)
        active = inside & F.col(f"seen_{feature.input}").isNotNull()
        return {merged_name("days", feature): F.bit_or(F.when(active, bit))}
    if feature.aggregation == "last":
        return {merged_name("last", feature): merge_last(feature.input, inside)[f"last_{feature.input}"]}
    return {merged_name(part.kind, feature): merge_part(part.kind, F.when(inside, F.col(part.name)))
            for part in parts_of([feature])}


def _total(value: Column) -> Column:
    """Sum in whole millionths: exact, so partitions can be added in any order and a rerun gives the same digits."""
    return F.sum(F.rint(value * MILLION).cast("bigint"))


_FROM_EVENTS: Mapping[Kind, Callable[[Column], Column]] = {
    "count": F.count,
    "total": _total,
    "low": F.min,
    "high": F.max,
    "seen": lambda value: F.max(F.when(value != 0, F.col("event_us"))),
    "last_us": lambda value: F.max(F.when(value.isNotNull(), F.col("event_us"))),
    "last": lambda value: F.max_by(value, F.when(value.isNotNull(), F.col("position"))),
}

_FINISH: Mapping[str, Callable[[Callable[[str], Column]], Column]] = {
    "count": lambda part: part("count"),
    "sum": lambda part: part("total") / MILLION,
    "mean": lambda part: F.when(part("count") > 0, part("total") / part("count") / MILLION),
    "min": lambda part: part("low"),
    "max": lambda part: part("high"),
    "last": lambda part: part("last"),
    "count_distinct": lambda part: part("distinct"),
    "active_days": lambda part: F.bit_count(part("days")),
    "recency": lambda part: (F.col("as_of_us") - part("seen")) / DAY_US,
}
