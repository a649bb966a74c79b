"""Files whose times run backwards, as exports with the newest row first do: where a record stands in them says nothing
of the order of events.

Told by the beginning of each file. A step to the next record of the same visitor counts four times, for a file may be
sorted by visitor first; steps over half of the beginning count once: what is a little out of order, as in a log by
arrival, does not matter over so many records. Where the whole beginning is one instant, as in a log by days, the first
record of the file is compared with the last one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import pyspark.sql.functions as F
from pyspark.sql import DataFrame, SparkSession

from purchasepath.sources.fields import text_columns, typed_columns
from purchasepath.sources.files import HEAD_BYTES, some_names
from purchasepath.sources.layout import Layout, SourceLayouts
from purchasepath.sources.mapping import Input
from purchasepath.sources.raw import FILE, IN_FILE, as_listed, read_beginnings, read_raw
from purchasepath.sources.unreadable import explained_damage

Told = tuple[str | None, int]
"""Of a record: visitor, and microseconds."""

_RECORDS = 200
_FILES_AT_ONCE = 1_000
_OWN_WEIGHT = 4
_SHARE = 2
"""So many times the weight of steps forwards must those backwards have: records in no order at all run forwards."""


def split_by_direction(spark: SparkSession, found: SourceLayouts) -> SourceLayouts:
    """`found` with files whose times run backwards in layouts of their own. It depends on nothing but the file, so it
    is the same whatever files it is read with."""
    asked = [layout for layouts in found.layouts.values() for layout in layouts if not layout.input.sequence]
    with explained_damage():
        paths = {path for layout in asked for path in _find_backward_files(spark, layout)}
    if not paths:
        return found
    layouts = {name: [part for layout in layouts for part in _parts(layout, paths)]
               for name, layouts in found.layouts.items()}
    files = [file for parts in layouts.values() for layout in parts if layout.backwards for file in layout.files]
    remark = (f"times run backwards in {len(files)} files, so their events of one instant are in order of their types: "
              f"{some_names(files)}")
    return replace(found, layouts=layouts, remarks=[*found.remarks, remark])


def runs_backwards(records: Sequence[Told]) -> bool:
    """Whether times of records, in the order of the file, run backwards."""
    forwards = backwards = 0
    before: dict[str | None, int] = {}
    for visitor, us in records:
        step = us - before.get(visitor, us)
        forwards += _OWN_WEIGHT * (step > 0)
        backwards += _OWN_WEIGHT * (step < 0)
        before[visitor] = us
    half = len(records) // 2
    for (_, earlier), (_, later) in zip(records[:half], records[len(records) - half:], strict=True):
        forwards += later > earlier
        backwards += later < earlier
    return backwards > _SHARE * forwards


def _parts(layout: Layout, backwards: set[str]) -> list[Layout]:
    """The files of a layout that run forwards, and the others."""
    forward, back = (tuple(f for f in layout.files if (f.path in backwards) == turned) for turned in (False, True))
    parts = [replace(layout, files=forward), replace(layout, files=back, backwards=True)]
    return [part for part in parts if part.files]


def _find_backward_files(spark: SparkSession, layout: Layout) -> set[str]:
    found, unclear = set[str](), []
    for start in range(0, len(layout.files), _FILES_AT_ONCE):
        part = replace(layout, files=layout.files[start:start + _FILES_AT_ONCE])
        beginnings = _read_times(spark, part)
        found |= {path for path, records in beginnings.items() if runs_backwards(records)}
        unclear += [file for file in part.files
                    if _is_level(records := beginnings.get(file.path, []))
                    and (2 * len(records) > _RECORDS or file.size > HEAD_BYTES)]
    if unclear:
        whole = read_raw(spark, [replace(layout, files=tuple(unclear))])
        ends = summarize_ends(times_of(whole, layout.input)).collect()  # at most a row per file
        found |= {row[FILE] for row in ends if row["first"] > row["last"]}
    return found


def _read_times(spark: SparkSession, layout: Layout) -> dict[str, list[Told]]:
    """Path → what is told of the file's first records, in order. Collects them: a few hundred per file."""
    rows = times_of(read_beginnings(spark, layout, _RECORDS), layout.input).collect()
    told = defaultdict[str, list[Told]](list)
    for row in sorted(rows, key=lambda row: [row[name] for name in IN_FILE]):
        told[row[FILE]].append((row["visitor"], row["us"]))
    return told


def _is_level(records: Sequence[Told]) -> bool:
    return len({us for _, us in records}) == 1


def times_of(raw: DataFrame, spec: Input) -> DataFrame:
    """FILE, SPLIT, NUMBER, `visitor` and `us` (microseconds) of the raw rows whose time can be read."""
    typed = typed_columns(spec, text_columns(spec))
    rows = raw.select(FILE, *IN_FILE, typed["user_id"].alias("visitor"), F.unix_micros(typed["event_ts"]).alias("us"))
    return rows.where("us is not null")


def summarize_ends(times: DataFrame) -> DataFrame:
    """One row per file: times of the `first` and the `last` record."""
    place = F.struct(*IN_FILE)
    ends = times.groupBy(FILE).agg(F.min_by("us", place).alias("first"), F.max_by("us", place).alias("last"))
    return ends.withColumn(FILE, as_listed(F.col(FILE)))
