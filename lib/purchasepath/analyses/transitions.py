r"""How sessions move from one event to the next, until they buy or leave.

    start --> view --> cart --> purchase     (the first purchase ends the path)
                \--> leave                  (a session without one ends by leaving)

Repeats count: two views in a row are a transition from view to view.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame, Window

from purchasepath.analyses.analysis import Analysis, Findings, Inputs
from purchasepath.analyses.shares import FEW
from purchasepath.analyses.walks import ACCURACY, LEAVE, PURCHASE, START, keep_people, up_to_purchase
from purchasepath.report import figures, wording
from purchasepath.report.panels import Content, Panel, Query, Row
from purchasepath.report.wording import percent
from purchasepath.scoring.intervals import bucket_of
from purchasepath.tables.catalog import SESSIONS
from purchasepath.tables.types import Column as C
from purchasepath.tables.types import Table

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


def moves(event_types: Column, offsets_us: Column) -> Column:
    """array<struct<from_state, to_state, seconds>>: the moves of one session, in order.

    [view, cart] at 0 s and 5 s -> [(start, view, null), (view, cart, 5.0), (cart, leave, null)]
    """
    walk = up_to_purchase(event_types)
    bought = F.array_contains(walk, PURCHASE)
    left = F.when(bought, F.slice(walk, 1, F.size(walk) - 1)).otherwise(walk)
    sources = F.concat(F.array(F.lit(START)), left)
    targets = F.when(bought, walk).otherwise(F.concat(walk, F.array(F.lit(LEAVE))))

    def move(target: Column, i: Column) -> Column:
        # get() is null outside the array: before the first event, and after the last one
        seconds = (F.get(offsets_us, i) - F.get(offsets_us, i - 1)) / F.lit(1e6)
        return F.struct(F.get(sources, i).alias("from_state"), target.alias("to_state"), seconds.alias("seconds"))

    return F.transform(targets, move)


def summarize_transitions(sessions: DataFrame) -> DataFrame:
    """One row per pair of states that follow each other in some session of a person (TRANSITIONS).

    `median_seconds` is approximate (`percentile_approx`): its rank is off by at most one in 10,000.
    """
    steps = _moves_of_people(sessions)
    counts = steps.groupBy("from_state", "to_state").agg(
        F.count(F.lit(1)).alias("transitions"),
        F.percentile_approx("seconds", 0.5, ACCURACY).alias("median_seconds"),
    )
    whole_state = Window.partitionBy("from_state").rowsBetween(
        Window.unboundedPreceding, Window.unboundedFollowing)
    out_of_state = F.sum("transitions").over(whole_state)
    return TRANSITIONS.select(counts.withColumn("probability", F.col("transitions") / out_of_state))


def transitions_by_bucket(sessions: DataFrame) -> DataFrame:
    """bucket, from_state, to_state, transitions: the same counts by bucket of visitors (see `scoring/intervals.py`)."""
    bucket = bucket_of(F.xxhash64("user_id")).alias("bucket")
    return _moves_of_people(sessions, bucket).groupBy("bucket", "from_state", "to_state").agg(
        F.count(F.lit(1)).alias("transitions"))


def _moves_of_people(sessions: DataFrame, *beside: Column) -> DataFrame:
    return keep_people(sessions).select(*beside, F.inline(moves(F.col("event_types"), F.col("offsets_us"))))


def _run(inputs: Inputs) -> Findings:
    return Findings({TRANSITIONS: inputs.keep(summarize_transitions(inputs.read(SESSIONS)), TRANSITIONS.name)})


QUERY = Query((TRANSITIONS,), """
SELECT from_state, to_state, transitions, probability, median_seconds
FROM transitions
ORDER BY from_state, to_state
""")


def _draw(rows: Sequence[Row]) -> Content:
    seen: dict[str, int] = {}
    for row in rows:
        seen[row["from_state"]] = seen.get(row["from_state"], 0) + row["transitions"]
    inner = [row for row in rows if row["from_state"] != "start" and seen[row["from_state"]] >= FEW] or rows
    leave = max((r for r in inner if r["to_state"] == "leave"), key=lambda r: r["probability"], default=None)
    buy = max((r for r in inner if r["to_state"] == "purchase"), key=lambda r: r["probability"], default=None)
    parts = []
    if leave:
        parts.append(f"people leave most readily after a {leave['from_state']} ({percent(leave['probability'])} of the "
                     f"times it is their last event)")
    if buy:
        parts.append(f"they buy most readily after a {buy['from_state']} ({percent(buy['probability'])})")
    reading = " and ".join(parts) or "no session has left or bought yet"
    return Content(reading[0].upper() + reading[1:] + ".", _figure(rows),
                   hint="Each row says, in percent, what comes next after its event, up to a session's first purchase. "
                        "Touch a cell for the count and the median time between the two (approximate).")


def _figure(rows: Sequence[Row]) -> figures.Figure:
    """A heat map: from the row's state to the column's."""
    known = {(row["from_state"], row["to_state"]): row for row in rows}
    sources = [s for s in figures.STATES if any(source == s for source, _ in known)]
    targets = [s for s in figures.STATES if any(target == s for _, target in known)]
    grid = [[known.get((s, t)) for t in targets] for s in sources]
    shares = [[row["probability"] if row else None for row in line] for line in grid]
    notes = [[_transition_note(row) for row in line] for line in grid]
    text = [["" if p is None else "<1" if p < 0.01 else f"{p * 100:.0f}" for p in line] for line in shares]
    trace = figures.trace("heatmap", x=targets, y=sources, z=shares, text=text, texttemplate="%{text}",
                          customdata=notes, zmin=0, zmax=1, xgap=2, ygap=2, showscale=False,
                          colorscale=[[0, "var(--heat-0)"], [1, "var(--heat-1)"]],
                          hoverongaps=False, hovertemplate="%{y} to %{x}<br>%{customdata}<extra></extra>")
    return figures.figure([trace], 110 + 42 * len(sources), {"layout": {"xaxis": {"tickangle": -60}}},
                          xaxis={**figures.CATEGORIES, "side": "top", "title": {"text": "next event"}, "ticks": "",
                                 "showline": False},
                          yaxis={**figures.CATEGORIES, "autorange": "reversed", "ticks": "", "showline": False})


def _transition_note(row: Row | None) -> str:
    if row is None:
        return ""
    pause = wording.duration(row["median_seconds"])
    return f"{wording.percent(row['probability'])} · {wording.count(row['transitions'])} times" + (
        f"<br>typically after {pause}" if pause else "")


ANALYSIS = Analysis("transitions", (Panel("transitions", "What comes next", QUERY, _draw),), (TRANSITIONS,), _run)
