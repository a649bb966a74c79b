"""Sessions that were flagged as a bot's, and what leaving them out takes away."""

from __future__ import annotations

from collections.abc import Sequence

from purchasepath.analyses.analysis import Analysis
from purchasepath.report.panels import Content, Panel, Query, Row
from purchasepath.report.wording import count, percent
from purchasepath.sessions.bots import left_out
from purchasepath.tables.catalog import SESSIONS

QUERY = Query((SESSIONS,), """
WITH flagged AS (
  SELECT DISTINCT user_id, 1 AS theirs FROM sessions WHERE is_bot
)
SELECT is_bot,
       count(*) AS sessions,
       count(DISTINCT user_id) AS visitors,
       sum(num_events) AS events,
       sum(revenue) AS revenue,
       sum(num_purchases) AS purchases,
       sum(revenue * theirs) AS visitors_revenue,
       sum(num_purchases * theirs) AS visitors_purchases
FROM sessions LEFT JOIN flagged USING (user_id)
GROUP BY is_bot
ORDER BY is_bot
""")


def _draw(rows: Sequence[Row]) -> Content:
    out = left_out(rows, sum(row["visitors_revenue"] or 0.0 for row in rows),
                   sum(row["visitors_purchases"] or 0 for row in rows))
    flagged = next((row for row in rows if row["is_bot"]), None)
    if flagged is None:
        return Content(f"None of {count(out.num_sessions)} sessions was flagged as a bot's.")
    tiles = tuple((f"bot {part}", count(flagged[part])) for part in ("sessions", "visitors", "events"))
    return Content(
        f"{count(out.flagged)} of {count(out.num_sessions)} sessions, with {percent(out.events)} of events and "
        f"{percent(out.value)} of {out.noun}, were flagged as a bot's by their agent, rate or size; they stay in the "
        f"table and are left out of the figures above. Their visitors, with {percent(out.value_of_visitors)} of "
        f"{out.noun}, are left out of training.", tiles=tiles, hint=out.too_much)


ANALYSIS = Analysis("bots", (Panel("bots", "Bots", QUERY, _draw),))
