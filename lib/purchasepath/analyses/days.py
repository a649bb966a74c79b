"""Sessions per day, and the share of them that bought."""

from __future__ import annotations

from collections.abc import Sequence

from purchasepath.analyses.analysis import Analysis
from purchasepath.report import figures, wording
from purchasepath.report.panels import Content, Panel, Query, Row
from purchasepath.report.wording import count, percent
from purchasepath.tables.catalog import SESSIONS

QUERY = Query((SESSIONS,), """
SELECT session_date AS day,
       count(*) AS sessions,
       count_if(num_purchases > 0) AS buying_sessions,
       sum(revenue) AS revenue
FROM sessions
WHERE NOT is_bot
GROUP BY session_date
ORDER BY session_date
""")


def _draw(rows: Sequence[Row]) -> Content:
    sessions = sum(row["sessions"] for row in rows)
    buying = sum(row["buying_sessions"] for row in rows)
    busiest = max(rows, key=lambda row: row["sessions"])
    return Content(
        f"On an average day {count(sessions / len(rows))} sessions began and {percent(buying / sessions)} of them "
        f"bought; the busiest day was {wording.day(busiest['day'])} with {count(busiest['sessions'])} sessions.",
        _figure(rows))


def _figure(rows: Sequence[Row]) -> figures.Figure:
    """Sessions per day as bars, and below them the share that bought."""
    at = [row["day"] for row in rows]
    shares = [row["buying_sessions"] / row["sessions"] for row in rows]
    sessions = figures.trace("bar", x=at, y=[row["sessions"] for row in rows], name="sessions",
                             marker_color="var(--view)",
                             hovertemplate="%{x|%a %d %b}<br>%{y:,} sessions<extra></extra>")
    conversion = figures.trace("scatter", x=at, y=shares, name="conversion", mode="lines+markers", yaxis="y2",
                               line={"color": "var(--purchase)", "width": 2.5}, marker={"size": 5},
                               hovertemplate="%{x|%a %d %b}<br>%{y:.2%} bought<extra></extra>")
    return figures.figure(
        [sessions, conversion], 430, showlegend=False, bargap=0.25,
        xaxis={"anchor": "y2", "type": "date", "showgrid": False},
        yaxis={"domain": [0.5, 1], "title": {"text": "sessions"}, "rangemode": "tozero"},
        yaxis2={"domain": [0, 0.4], "title": {"text": "bought"}, **figures.PERCENT_AXIS},
    )


ANALYSIS = Analysis("days", (Panel("days", "Sessions and conversion per day", QUERY, _draw),))
