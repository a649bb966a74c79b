"""Predicted probabilities beside how often they came true."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from purchasepath.analyses.analysis import Analysis
from purchasepath.analyses.metrics import ours_first
from purchasepath.report import figures, wording
from purchasepath.report.panels import Content, Panel, Query, Row
from purchasepath.tables.catalog import CALIBRATION

QUERY = Query((CALIBRATION,), """
SELECT model, bin, points, mean_predicted, observed
FROM calibration
WHERE points > 0 AND coalesce(task, 'purchase') = 'purchase'
ORDER BY model, bin
""")


def _draw(rows: Sequence[Row]) -> Content:
    model = ours_first({row["model"] for row in rows})[0]
    part = [row for row in rows if row["model"] == model]
    points = sum(row["points"] for row in part)
    off = sum(row["points"] * abs(row["mean_predicted"] - row["observed"]) for row in part) / points
    return Content(
        f"On average a probability predicted by {wording.name(model)} differs by {off * 100:.1f} percentage points "
        f"from the share that really bought.", _figure(rows),
        hint="Each point is a group of similar predictions; on the dotted line they would come exactly true.")


def _figure(rows: Sequence[Row]) -> figures.Figure:
    """Predicted against observed; on the dotted line they agree."""
    highest = max(max(row["mean_predicted"], row["observed"]) for row in rows)
    top = min(1.0, highest * 1.1 or 1.0)
    traces = [figures.trace("scatter", x=[0, top], y=[0, top], mode="lines", name="exactly calibrated",
                            hoverinfo="skip", line={"color": "var(--muted)", "dash": "dot", "width": 1.5})]
    models = list(dict.fromkeys(row["model"] for row in rows))
    for model, shade in zip(ours_first(models), figures.SERIES, strict=False):
        part = [row for row in rows if row["model"] == model]
        traces.append(figures.trace(
            "scatter", x=[row["mean_predicted"] for row in part], y=[row["observed"] for row in part],
            mode="lines+markers", name=escape(wording.name(model), quote=False),
            customdata=[row["points"] for row in part],
            line={"color": f"var(--{shade})", "width": 2.5}, marker={"size": 8},
            hovertemplate="predicted %{x:.1%}, bought %{y:.1%}<br>%{customdata:,} predictions<extra></extra>"))
    return figures.figure(traces, 400, xaxis={"title": {"text": "predicted"}, **figures.PERCENT_AXIS},
                          yaxis={"title": {"text": "bought"}, **figures.PERCENT_AXIS})


ANALYSIS = Analysis("calibration", (Panel("calibration", "Can the probabilities be trusted", QUERY, _draw),))
