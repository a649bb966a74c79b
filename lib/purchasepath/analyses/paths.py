"""The paths that sessions walk: event types in order, up to the first purchase.

A path ends at the session's first purchase, or at its end where nothing was bought. Consecutive repeats
are one state (`view view cart` is `view > cart`), and only so many states are told apart: the middle of
a longer path is cut and marked with `…`.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame

from purchasepath.analyses.analysis import Analysis, Findings, Inputs
from purchasepath.analyses.walks import ACCURACY, PURCHASE, collapse_repeats, keep_people, up_to_purchase
from purchasepath.report import wording
from purchasepath.report.panels import Content, Grid, Panel, Query, Row
from purchasepath.report.wording import count, percent
from purchasepath.tables.catalog import SESSIONS
from purchasepath.tables.types import Column as C
from purchasepath.tables.types import Table

CUT = "…"
SEPARATOR = " > "

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


def cut_middle(states: Column, length: int) -> Column:
    """At most `length` states; of a longer path its first and its last ones, with `…` between them."""
    head = length // 2
    tail = length - head
    cut = F.concat(F.slice(states, 1, head), F.array(F.lit(CUT)), F.slice(states, -tail, tail))
    return F.when(F.size(states) > length, cut).otherwise(states)


def summarize_paths(sessions: DataFrame, *, path_length: int, top_paths: int) -> DataFrame:
    """One row per common path (PATHS): the `top_paths` most walked and the `top_paths` most walked by buyers.

    Ties are broken by the path itself, so the same sessions give the same rows. Medians are approximate
    (`percentile_approx`): their rank is off by at most one in 10,000.
    """
    states = cut_middle(collapse_repeats(up_to_purchase(F.col("event_types"))), path_length)
    bought = F.array_contains("event_types", PURCHASE)
    walked = keep_people(sessions).select(
        F.array_join(states, SEPARATOR).alias("path"),
        F.least(F.size(states), F.lit(path_length)).alias("length"),
        bought.cast("int").alias("bought"), "revenue", "duration_s",
    )
    paths = walked.groupBy("path", "length").agg(
        F.count(F.lit(1)).alias("sessions"),
        F.sum("bought").alias("purchases"),
        F.sum("revenue").alias("revenue"),
        F.percentile_approx("duration_s", 0.5, ACCURACY).alias("median_duration_s"),
    )
    # a rank over all rows would be one task's work for every path there is: each half is a top-k instead
    common = paths.orderBy(F.desc("sessions"), "path").limit(top_paths)
    buyers = paths.where(F.col("purchases") > 0).orderBy(F.desc("purchases"), "path").limit(top_paths)
    return PATHS.select(common.unionByName(buyers).dropDuplicates(["path"]))


def _run(inputs: Inputs) -> Findings:
    config = inputs.config
    return Findings({PATHS: summarize_paths(inputs.read(SESSIONS), path_length=config.path_length,
                                            top_paths=config.top_paths)})


_BUYING = Query((PATHS,), """
SELECT path, sessions, purchases, revenue, median_duration_s
FROM paths
WHERE purchases > 0
ORDER BY purchases DESC, path
LIMIT 12
""")


_COMMON = Query((PATHS, SESSIONS), """
SELECT path, sessions,
       try_divide(sessions, (SELECT count(*) FROM sessions WHERE NOT is_bot)) AS share,
       purchases, median_duration_s
FROM paths
ORDER BY sessions DESC, path
LIMIT 12
""")


def _draw_buying(rows: Sequence[Row]) -> Content:
    first = rows[0]
    grid = Grid(("path", "purchases", "revenue", "median time"), tuple(
        (row["path"], count(row["purchases"]), wording.amount(row["revenue"]),
         wording.duration(row["median_duration_s"])) for row in rows), path_column=0)
    return Content(f"The most walked way to a purchase is {_arrows(first['path'])}, by {count(first['purchases'])} "
                   f"sessions, which typically took {wording.duration(first['median_duration_s'])}.", grid=grid)


def _draw_common(rows: Sequence[Row]) -> Content:
    grid = Grid(("path", "sessions", "share", "of them bought", "median time"), tuple(
        (row["path"], count(row["sessions"]), percent(row["share"]), count(row["purchases"]),
         wording.duration(row["median_duration_s"])) for row in rows), path_column=0)
    together = sum(row["share"] for row in rows)
    return Content(f"The {len(rows)} most common paths are those of {percent(together)} of all sessions; "
                   f"{_arrows(rows[0]['path'])} alone is {percent(rows[0]['share'])}.", grid=grid)


def _arrows(path: str) -> str:
    return path.replace(" > ", " → ")


ANALYSIS = Analysis("paths", (
    Panel("buying-paths", "Most common ways to a purchase", _BUYING, _draw_buying),
    Panel("common-paths", "Most common paths of all sessions", _COMMON, _draw_common),
), (PATHS,), _run)
