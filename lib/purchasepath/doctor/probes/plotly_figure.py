"""a Plotly figure
as HTML with its script inside
run: make setup"""

from __future__ import annotations

import json

import plotly.graph_objects as go

page = go.Figure(go.Scatter(y=[1, 2, 3])).to_html(include_plotlyjs=True)
if "Plotly.newPlot" not in page:
    raise SystemExit("the page does not draw the figure")
print(json.dumps({"found": f"{len(page) / 1e6:.1f} MB of HTML"}))
