"""Plotly figures as plain JSON, drawn from dicts; the palette and what figures have in common. Plotly's room.

Colours are CSS variables (`var(--view)`): the page resolves them, so that one palette in one style sheet
serves light and dark. Words from the data are escaped by whoever draws them, because Plotly reads a little HTML in
labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Trace = Mapping[str, Any]
"""One trace of Plotly: its `type`, and its properties."""

STATES = ("start", "search", "category", "view", "cart", "remove", "checkout", "purchase", "return", "leave")
SERIES = ("series-1", "series-2", "series-3", "series-4", "series-5", "series-6")
CATEGORIES = {"type": "category", "automargin": True, "showgrid": False}
PERCENT_AXIS = {"tickformat": ",.1~%", "rangemode": "tozero"}


@dataclass(frozen=True)
class Figure:
    """A Plotly figure as plain JSON, its height in pixels, and what changes on a narrow screen."""

    data: list[dict[str, Any]]
    layout: dict[str, Any]
    height: int
    narrow: dict[str, Any] = field(default_factory=dict)


def figure(traces: Sequence[Trace], height: int, narrow: dict[str, Any] | None = None, **layout: Any) -> Figure:
    """Checked by Plotly, without its theme: the page brings its own."""
    import plotly.graph_objects as go  # `sql` and `analyze` load the analyses, and no Plotly

    built = go.Figure([dict(trace) for trace in traces], go.Layout(template={}, **layout)).to_plotly_json()
    return Figure(built["data"], built["layout"], height, narrow or {})


def trace(kind: str, **properties: Any) -> Trace:
    """A trace of Plotly's `kind`: bar, scatter, heatmap …"""
    return {"type": kind, **properties}


def color(state: str) -> str:
    """Of an event type or an end of a path."""
    return f"var(--{state})" if state in STATES else "var(--other)"


def plotly_script() -> str:
    """The JavaScript that draws the figures."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())
