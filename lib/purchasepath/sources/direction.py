"""Files whose times run backwards, as exports with the newest row first do: where a record stands in them says nothing
of the order of events.

Told by the beginning of each file. The next record of the same visitor counts four times, for a file may be sorted by
visitor first; records half of the beginning apart count once, for they stand far enough from each other that what is
a little out of order, as in a log by arrival, does not matter. Where the whole beginning is one instant, as in a log
by days, the first record of the file is compared with the last one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import reduce

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame, SparkSession, Window

from purchasepath.sources.fields import text_columns, typed_columns
from purchasepath.sources.files import HEAD_BYTES, some_names
from purchasepath.sources.layout import Layout, SourceLayouts
from purchasepath.sources.mapping import Input
from purchasepath.sources.raw import FILE, IN_FILE, as_listed, read_beginnings, read_raw
from purchasepath.sources.unreadable import explained_damage

_RECORDS = 200
_OWN_STEP = 4
"""Weight of a step from a visitor's record to the same visitor's next one."""


def split_by_direction(spark: SparkSession, found: SourceLayouts) -> SourceLayouts:
    """`found` with files whose times run backwards in layouts of their own. What depends on nothing but the file: a
    file comes out the same whatever files it is read with."""
    asked = [layout for layouts in found.layouts.values() for layout in layouts if not layout.input.sequence]
    if not asked:
        return found
    with explained_damage():
        paths = _find_backward_files(spark, asked)
    if not paths:
        return found
    layouts = {name: [part for layout in layouts for part in _parts(layout, paths)]
               for name, layouts in found.layouts.items()}
    files = [file for parts in layouts.values() for layout in parts if layout.backwards for file in layout.files]
    remark = (f"times run backwards in {len(files)} files, so their events of one instant are in order of their types: "
              f"{some_names(files)}")
    return replace(found, layouts=layouts, remarks=[*found.remarks, remark])


def _parts(layout: Layout, backwards: set[str]) -> list[Layout]:
    """The files of a layout that run forwards, and the others."""
    forward, back = (tuple(f for f in layout.files if (f.path in backwards) == turned) for turned in (False, True))
    parts = [replace(layout, files=forward), replace(layout, files=back, backwards=True)]
    return [part for part in parts if part.files]


def _find_backward_files(spark: SparkSession, layouts: Iterable[Layout]) -> set[str]:
    beginnings = [times_of(read_beginnings(spark, layout, _RECORDS), layout.input) for layout in layouts]
    told = summarize_steps(reduce(DataFrame.unionByName, beginnings)).collect()  # a row per file
    backwards = {row[FILE] for row in told if row["score"] < 0}
    level = {row[FILE]: row["records"] for row in told if row["level"]}
    unclear = [replace(layout, files=files) for layout in layouts if (files := tuple(
        file for file in layout.files
        if file.path in level and (2 * level[file.path] > _RECORDS or file.size > HEAD_BYTES)))]
    if not unclear:
        return backwards
    wholes = [times_of(read_raw(spark, [layout]), layout.input) for layout in unclear]
    ends = summarize_ends(reduce(DataFrame.unionByName, wholes)).collect()  # at most a row per file
    return backwards | {row[FILE] for row in ends if row["first"] > row["last"]}


def times_of(raw: DataFrame, spec: Input) -> DataFrame:
    """FILE, SPLIT, NUMBER, `visitor` and `us` (microseconds) of the raw rows whose time can be read."""
    typed = typed_columns(spec, text_columns(spec))
    rows = raw.select(FILE, *IN_FILE, typed["user_id"].alias("visitor"), F.unix_micros(typed["event_ts"]).alias("us"))
    return rows.where("us is not null")


def summarize_steps(times: DataFrame) -> DataFrame:
    """One row per file: `score` (below 0: backwards), `records`, `level` (all of one instant)."""
    own = Window.partitionBy(FILE, "visitor").orderBy(*IN_FILE)
    step = F.signum(F.col("us") - F.lag("us").over(own))
    line = F.sort_array(F.collect_list(F.struct(*IN_FILE, "us")))["us"]
    summed = times.repartition(FILE).withColumn("step", step).groupBy(FILE).agg(
        F.coalesce(F.sum("step"), F.lit(0)).alias("own"), line.alias("line"), F.count(F.lit(1)).alias("records"),
        (F.min("us") == F.max("us")).alias("level"))
    score = _OWN_STEP * F.col("own") + _far_steps(F.col("line"))
    return summed.select(FILE, score.alias("score"), "records", "level")


def summarize_ends(times: DataFrame) -> DataFrame:
    """One row per file: times of the `first` and the `last` record."""
    place = F.struct(*IN_FILE)
    ends = times.groupBy(FILE).agg(F.min_by("us", place).alias("first"), F.max_by("us", place).alias("last"))
    return ends.withColumn(FILE, as_listed(F.col(FILE)))


def _far_steps(line: Column) -> Column:
    """Steps up less steps down between each of the earlier half of some times and its partner in the later half."""
    half = F.floor(F.size(line) / 2).cast("int")
    signs = F.zip_with(F.slice(line, 1, half), F.slice(line, F.size(line) - half + 1, half),
                       lambda earlier, later: F.signum(later - earlier))
    return F.aggregate(signs, F.lit(0.0).cast("double"), lambda total, sign: total + sign)
