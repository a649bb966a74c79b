"""How probable a purchase is for how many visitors."""

from __future__ import annotations

from collections.abc import Sequence

from purchasepath.analyses.analysis import Analysis
from purchasepath.report import figures, wording
from purchasepath.report.panels import Content, Panel, Query, Row
from purchasepath.report.wording import count, percent
from purchasepath.tables.catalog import SCORES

QUERY = Query((SCORES,), """
WITH latest AS (
  SELECT as_of_date, model_name FROM scores
  WHERE task = 'purchase'
  GROUP BY as_of_date, model_name
  ORDER BY as_of_date DESC, max(run_number) DESC, max(run_id) DESC
  LIMIT 1
), scored AS (
  SELECT value AS p, as_of, horizon_hours
  FROM scores JOIN latest USING (as_of_date, model_name)
  WHERE task = 'purchase'
), limits AS (
  SELECT greatest(max(p), 0.01) AS highest, percentile_approx(p, 0.9, 10000) AS top_tenth FROM scored
)
SELECT least(width_bucket(p, 0, highest, 40), 40) AS bin,
       highest / 40 AS bin_width,
       count(*) AS visitors,
       sum(p) AS expected_buyers,
       sum(if(p >= top_tenth, p, 0)) AS expected_buyers_in_top_tenth,
       max(as_of) AS as_of,
       max(horizon_hours) AS horizon_hours
FROM scored CROSS JOIN limits
GROUP BY ALL
ORDER BY bin
""")


def _draw(rows: Sequence[Row]) -> Content:
    visitors = sum(row["visitors"] for row in rows)
    expected = sum(row["expected_buyers"] for row in rows)
    top = sum(row["expected_buyers_in_top_tenth"] for row in rows) / expected if expected else 0.0
    horizon = rows[0]["horizon_hours"]
    span = f"{horizon / 24:g} days" if horizon >= 48 else f"{horizon:g} hours"
    as_of = max(row["as_of"] for row in rows)
    return Content(
        f"Of {count(visitors)} visitors scored as of {wording.day(as_of)}, the model expects about {count(expected)} "
        f"to buy within {span}; the tenth with the highest scores holds {percent(top)} of these expected buyers.",
        _figure(rows))


def _figure(rows: Sequence[Row]) -> figures.Figure:
    """Visitors by predicted purchase probability. The counts span decades, so their axis is logarithmic."""
    width = rows[0]["bin_width"]
    trace = figures.trace(
        "bar", x=[(row["bin"] - 0.5) * width for row in rows], y=[row["visitors"] for row in rows], width=width * 0.92,
        marker_color="var(--purchase)", hovertemplate="about %{x:.1%}<br>%{y:,} visitors<extra></extra>")
    return figures.figure(
        [trace], 320,
        xaxis={"title": {"text": "probability of a purchase"}, "range": [0, 40 * width], "tickformat": ",.1~%"},
        yaxis={"title": {"text": "visitors (log scale)"}, "type": "log", "dtick": 1, "tickformat": ","})


ANALYSIS = Analysis("scores", (Panel("scores", "Who is likely to buy", QUERY, _draw),))
