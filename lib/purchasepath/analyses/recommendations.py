"""The items that most visitors get recommended."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from purchasepath.analyses.analysis import Analysis
from purchasepath.report import figures, wording
from purchasepath.report.panels import Content, Panel, Query, Row
from purchasepath.report.wording import count, percent
from purchasepath.tables.catalog import RECOMMENDATIONS

QUERY = Query((RECOMMENDATIONS,), """
WITH latest AS (
  SELECT as_of_date, model_name, count(DISTINCT user_id) AS all_visitors
  FROM recommendations
  GROUP BY as_of_date, model_name
  ORDER BY as_of_date DESC, max(run_number) DESC, max(run_id) DESC
  LIMIT 1
)
SELECT item_id,
       count(*) AS visitors,
       count(*) / max(all_visitors) AS share_of_visitors,
       count_if(rank = 1) AS first_places
FROM recommendations JOIN latest USING (as_of_date, model_name)
GROUP BY item_id
ORDER BY visitors DESC, item_id
LIMIT 15
""")


def _draw(rows: Sequence[Row]) -> Content:
    first = rows[0]
    return Content(
        f"Item {first['item_id']} is recommended to most people: it is in the recommendations of "
        f"{percent(first['share_of_visitors'])} of the visitors, in first place for {count(first['first_places'])}.",
        _figure(rows))


def _figure(rows: Sequence[Row]) -> figures.Figure:
    """The items that most visitors get recommended."""
    rows = list(reversed(rows))
    shares = [row["share_of_visitors"] for row in rows]
    trace = figures.trace(
        "bar", y=[escape(row["item_id"], quote=False) for row in rows], x=shares, orientation="h",
        marker_color="var(--view)", text=[wording.percent(share) for share in shares], textposition="auto",
        customdata=[row["visitors"] for row in rows],
        hovertemplate="item %{y}<br>%{customdata:,} visitors<extra></extra>")
    return figures.figure([trace], 70 + 27 * len(rows),
                          xaxis={"title": {"text": "share of visitors"}, **figures.PERCENT_AXIS},
                          yaxis={**figures.CATEGORIES, "title": {"text": "item"}})


ANALYSIS = Analysis("recommendations", (Panel("top-items", "What is recommended most", QUERY, _draw),))
