"""How many visitors, sessions and purchases there are: the numbers at the top of the report."""

from __future__ import annotations

from collections.abc import Sequence

from purchasepath.analyses.analysis import Analysis
from purchasepath.report import wording
from purchasepath.report.panels import Content, Panel, Query, Row
from purchasepath.report.wording import count, percent
from purchasepath.tables.catalog import SESSIONS

QUERY = Query((SESSIONS,), """
SELECT count(DISTINCT user_id) AS visitors,
       count(*) AS sessions,
       sum(num_events) AS events,
       count_if(num_purchases > 0) AS buying_sessions,
       sum(revenue) AS revenue,
       min(started_at) AS first_event,
       max(ended_at) AS last_event
FROM sessions
WHERE NOT is_bot
""")


def _draw(rows: Sequence[Row]) -> Content:
    row = rows[0]
    if not row["sessions"]:
        return Content("There are no sessions of people in the warehouse.")
    conversion = row["buying_sessions"] / row["sessions"]
    # purchases that brought in nothing are purchases without a price
    priced = row["revenue"] > 0 or not row["buying_sessions"]
    revenue = wording.amount(row["revenue"]) if priced else "–"
    per_session = wording.amount(row["revenue"] / row["sessions"]) if priced else "–"
    tiles = (
        ("visitors", count(row["visitors"])), ("sessions", count(row["sessions"])),
        ("conversion", percent(conversion)), ("revenue", revenue), ("revenue per session", per_session),
        ("events", count(row["events"])),
    )
    return Content(
        f"From {wording.day(row['first_event'])} to {wording.day(row['last_event'])}, {count(row['visitors'])} "
        f"visitors came in {count(row['sessions'])} sessions, and {count(row['buying_sessions'])} of these sessions "
        f"({percent(conversion)}) bought something.", tiles=tiles)


ANALYSIS = Analysis("headline", (Panel("headline", "At a glance", QUERY, _draw),))
