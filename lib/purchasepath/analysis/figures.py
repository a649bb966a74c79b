"""Figures of the report: rows in, a Plotly figure out. Nothing here computes: the queries did.

Colours are CSS variables (`var(--view)`): the page resolves them, so that one palette in one style sheet
serves light and dark. Words from the data are escaped, because Plotly reads a little HTML in labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import plotly.graph_objects as go

from purchasepath.analysis import wording

Row = Mapping[str, Any]

STATES = ("start", "search", "category", "view", "cart", "remove", "checkout", "purchase", "return", "leave")
SERIES = ("series-1", "series-2", "series-3", "series-4", "series-5", "series-6")
CATEGORIES = {"type": "category", "automargin": True, "showgrid": False}
SPLITS = {"train": "training", "valid": "validation"}
_KINDS_OF_LOSS = {"loss": "loss, all together", "item_loss": "next item", "purchase_loss": "purchase",
                  "session_loss": "purchase in the session", "churn_loss": "churn", "next_type_loss": "next type"}
_UNMEASURED: Row = {"value": None, "low": None, "high": None}
PERCENT_AXIS = {"tickformat": ",.1~%", "rangemode": "tozero"}


@dataclass(frozen=True)
class Figure:
    """A Plotly figure as plain JSON, its height in pixels, and what changes on a narrow screen."""

    data: list[dict[str, Any]]
    layout: dict[str, Any]
    height: int
    narrow: dict[str, Any] = field(default_factory=dict)


def figure(traces: Sequence[Any], height: int, narrow: dict[str, Any] | None = None, **layout: Any) -> Figure:
    """Checked by Plotly, without its theme: the page brings its own."""
    built = go.Figure(list(traces), go.Layout(template={}, **layout)).to_plotly_json()
    return Figure(built["data"], built["layout"], height, narrow or {})


def color(state: str) -> str:
    return f"var(--{state})" if state in STATES else "var(--other)"


def days(rows: Sequence[Row]) -> Figure:
    """Sessions per day as bars, and below them the share that bought."""
    at = [row["day"] for row in rows]
    shares = [row["buying_sessions"] / row["sessions"] for row in rows]
    sessions = go.Bar(x=at, y=[row["sessions"] for row in rows], name="sessions", marker_color="var(--view)",
                      hovertemplate="%{x|%a %d %b}<br>%{y:,} sessions<extra></extra>")
    conversion = go.Scatter(x=at, y=shares, name="conversion", mode="lines+markers", yaxis="y2",
                            line={"color": "var(--purchase)", "width": 2.5}, marker={"size": 5},
                            hovertemplate="%{x|%a %d %b}<br>%{y:.2%} bought<extra></extra>")
    return figure(
        [sessions, conversion], 430, showlegend=False, bargap=0.25,
        xaxis={"anchor": "y2", "type": "date", "showgrid": False},
        yaxis={"domain": [0.5, 1], "title": {"text": "sessions"}, "rangemode": "tozero"},
        yaxis2={"domain": [0, 0.4], "title": {"text": "bought"}, **PERCENT_AXIS},
    )


def funnel(rows: Sequence[Row]) -> Figure:
    """One bar per step, widest first."""
    steps = [row["step"] for row in rows]
    trace = go.Funnel(
        y=steps, x=[row["sessions"] for row in rows], marker={"color": [color(step) for step in steps]},
        text=[f"{wording.count(row['sessions'])}  ·  {wording.percent(row['share_of_first'])}" for row in rows],
        textinfo="text", textposition="auto", connector={"fillcolor": "var(--line)", "line": {"width": 0}},
        hovertemplate="%{y}<br>%{x:,} sessions<extra></extra>", constraintext="none",
    )
    return figure([trace], 90 + 62 * len(rows), yaxis={**CATEGORIES, "showline": False}, xaxis={"visible": False})


def funnel_parts(rows: Sequence[Row]) -> Figure:
    """For each later step, the share of sessions that reached it, by value of a dimension."""
    steps = {row["step_number"]: row["step"] for row in rows if row["step_number"] > 1}
    traces = []
    for number, step in sorted(steps.items()):
        part = [row for row in rows if row["step_number"] == number]
        shares = [row["share_of_first"] for row in part]
        traces.append(go.Bar(
            x=[escape(row["value"], quote=False) for row in part], y=shares, name=step, marker_color=color(step),
            text=[wording.short_percent(share) for share in shares], textposition="outside", cliponaxis=False,
            constraintext="none", textfont={"size": 11}, customdata=[row["sessions"] for row in part],
            hovertemplate=f"%{{x}}: {step}<br>%{{y:.2%}} · %{{customdata:,}} sessions<extra></extra>"))
    quiet = {"traces": {"textposition": "none"}}
    return figure(traces, 330, quiet, barmode="group", bargap=0.3, xaxis=CATEGORIES,
                  yaxis={"title": {"text": "of sessions with the first step"}, **PERCENT_AXIS})


def first_steps(rows: Sequence[Row], last_step: int) -> Figure:
    """A Sankey diagram of the first steps; whoever has neither bought nor left by then is `later`.

    A state has one node per step; `purchase` and `leave` have one each, to which all steps flow.
    """
    nodes: dict[tuple[int, str], int] = {}

    def node(step: int, state: str) -> int:
        ends = state in ("purchase", "leave")
        return nodes.setdefault((-1 if ends else step, state), len(nodes))

    links = [(node(row["step"], row["from_state"]), node(row["step"] + 1, row["to_state"]), row["to_state"],
              row["sessions"]) for row in rows if row["step"] < last_step]
    for row in rows:
        if row["step"] == last_step:
            links.append((node(last_step, row["from_state"]), node(-1, "later"), "later", row["sessions"]))
    labels = [state for _, state in nodes]
    # a narrow screen has no room for names between the last two columns
    few_labels = ["" if step == last_step else state for step, state in nodes]
    trace = go.Sankey(
        arrangement="snap",
        node={"label": labels, "color": [color(state) for state in labels], "pad": 16, "thickness": 14,
              "line": {"width": 0},
              "customdata": labels, "hovertemplate": "%{customdata}: %{value:,} sessions<extra></extra>"},
        link={"source": [s for s, _, _, _ in links], "target": [t for _, t, _, _ in links],
              "value": [n for _, _, _, n in links], "color": [f"var(--{s}-faint)" for _, _, s, _ in links],
              "hovertemplate": "%{source.customdata} to %{target.customdata}: %{value:,} sessions<extra></extra>"},
    )
    small = {"traces": {"node": {"thickness": 8, "pad": 12, "label": few_labels}, "textfont": {"size": 10}}}
    return figure([trace], 460, small)


def transition_matrix(rows: Sequence[Row]) -> Figure:
    """A heat map: from the row's state to the column's."""
    known = {(row["from_state"], row["to_state"]): row for row in rows}
    sources = [s for s in STATES if any(source == s for source, _ in known)]
    targets = [s for s in STATES if any(target == s for _, target in known)]
    grid = [[known.get((s, t)) for t in targets] for s in sources]
    shares = [[row["probability"] if row else None for row in line] for line in grid]
    notes = [[_transition_note(row) for row in line] for line in grid]
    text = [["" if p is None else "<1" if p < 0.01 else f"{p * 100:.0f}" for p in line] for line in shares]
    trace = go.Heatmap(x=targets, y=sources, z=shares, text=text, texttemplate="%{text}", customdata=notes, zmin=0,
                       zmax=1, colorscale=[[0, "var(--heat-0)"], [1, "var(--heat-1)"]], showscale=False, xgap=2, ygap=2,
                       hoverongaps=False, hovertemplate="%{y} to %{x}<br>%{customdata}<extra></extra>")
    return figure([trace], 110 + 42 * len(sources), {"layout": {"xaxis": {"tickangle": -60}}},
                  xaxis={**CATEGORIES, "side": "top", "title": {"text": "next event"}, "ticks": "", "showline": False},
                  yaxis={**CATEGORIES, "autorange": "reversed", "ticks": "", "showline": False})


def _transition_note(row: Row | None) -> str:
    if row is None:
        return ""
    pause = wording.duration(row["median_seconds"])
    return f"{wording.percent(row['probability'])} · {wording.count(row['transitions'])} times" + (
        f"<br>typically after {pause}" if pause else "")


def removal_effects(rows: Sequence[Row]) -> Figure:
    """Two bars per state: sessions that get there, purchases that go through it."""
    rows = list(reversed(rows))
    states = [row["state"] for row in rows]

    def bars(column: str, label: str, shade: str) -> go.Bar:
        values = [row[column] for row in rows]
        return go.Bar(y=states, x=values, name=label, orientation="h", marker_color=shade, cliponaxis=False,
                      text=[wording.percent(value) for value in values], textposition="outside",
                      hovertemplate="%{y}: %{x:.1%}<extra></extra>")

    return figure([bars("reach_probability", "sessions that get there", "var(--leave)"),
                   bars("removal_effect", "purchases that would be lost", "var(--purchase)")],
                  110 + 56 * len(rows), barmode="group", bargap=0.3, legend={"traceorder": "reversed"},
                  xaxis={"range": [0, 1.14], "tickvals": [0, 0.25, 0.5, 0.75, 1], "tickformat": ",.0%"},
                  yaxis=CATEGORIES)


def channels(rows: Sequence[Row]) -> Figure:
    """Conversions per channel, one bar per way of sharing the credit."""
    rules = {"markov": "removal effect", "first_touch": "first touch", "last_touch": "last touch",
             "linear_touch": "linear"}
    traces = [
        go.Bar(x=[escape(row["channel"], quote=False) for row in rows], y=[row[rule] for row in rows], name=label,
               marker_color=f"var(--{shade})", hovertemplate=f"%{{x}}<br>{label}: %{{y:,.1f}}<extra></extra>")
        for (rule, label), shade in zip(rules.items(), SERIES, strict=False)]
    return figure(traces, 340, barmode="group", bargap=0.3, xaxis=CATEGORIES,
                  yaxis={"title": {"text": "purchases credited"}, "rangemode": "tozero"})


def model_bars(models: Sequence[str], metrics: Sequence[str], found: Mapping[tuple[str, str], Row]) -> Figure:
    """One group of bars per metric, one bar per model, with its interval as whiskers."""
    labels = [wording.name(m.split("@")[0]) + (f"@{m.split('@')[1]}" if "@" in m else "") for m in metrics]
    traces = []
    for model, shade in zip(models, SERIES, strict=False):
        rows = [found.get((model, metric), _UNMEASURED) for metric in metrics]
        heights = [row["value"] for row in rows]
        traces.append(go.Bar(
            x=labels, y=heights, name=escape(wording.name(model), quote=False), marker_color=f"var(--{shade})",
            text=["" if h is None else f"{h:.3f}" for h in heights], textposition="inside", insidetextanchor="start",
            constraintext="none", customdata=[wording.sure_metric(row) for row in rows],
            error_y={"type": "data", "symmetric": False, "thickness": 1.5, "width": 3, "color": "var(--ink)",
                     "array": [_whisker(row, "high") for row in rows],
                     "arrayminus": [_whisker(row, "low") for row in rows]},
            hovertemplate="%{x}: %{customdata}<extra>%{fullData.name}</extra>"))
    return figure(traces, 330, barmode="group", bargap=0.25, xaxis=CATEGORIES, yaxis={"rangemode": "tozero"})


def _whisker(row: Row, end: str) -> float:
    """Length of a whisker; 0 without an interval."""
    return abs(row[end] - row["value"]) if row[end] is not None else 0.0


def calibration(rows: Sequence[Row]) -> Figure:
    """Predicted against observed; on the dotted line they agree."""
    highest = max(max(row["mean_predicted"], row["observed"]) for row in rows)
    top = min(1.0, highest * 1.1 or 1.0)
    traces: list[Any] = [go.Scatter(x=[0, top], y=[0, top], mode="lines", name="exactly calibrated", hoverinfo="skip",
                                    line={"color": "var(--muted)", "dash": "dot", "width": 1.5})]
    models = list(dict.fromkeys(row["model"] for row in rows))
    for model, shade in zip(ours_first(models), SERIES, strict=False):
        part = [row for row in rows if row["model"] == model]
        traces.append(go.Scatter(
            x=[row["mean_predicted"] for row in part], y=[row["observed"] for row in part], mode="lines+markers",
            name=escape(wording.name(model), quote=False), customdata=[row["points"] for row in part],
            line={"color": f"var(--{shade})", "width": 2.5}, marker={"size": 8},
            hovertemplate="predicted %{x:.1%}, bought %{y:.1%}<br>%{customdata:,} predictions<extra></extra>"))
    return figure(traces, 400, xaxis={"title": {"text": "predicted"}, **PERCENT_AXIS},
                  yaxis={"title": {"text": "bought"}, **PERCENT_AXIS})


def training_curves(rows: Sequence[Row]) -> Figure:
    """Losses by epoch: each kind on an axis of its own, as they differ in size, training and validation together."""
    kinds = sorted({_kind_of_loss(row["metric"]) for row in rows}, key=lambda kind: (kind != "loss", kind))
    height, gap = 1 / len(kinds), 0.06 / len(kinds)
    epochs = max(row["epoch"] for row in rows)
    traces: list[Any] = []
    axes: dict[str, Any] = {}
    for place, kind in enumerate(kinds):
        number = "" if place == 0 else str(place + 1)
        top = 1 - place * height
        axes[f"yaxis{number}"] = {"domain": [top - height + gap, top - gap], "nticks": 5,
                                  "title": {"text": _KINDS_OF_LOSS.get(kind, escape(kind, quote=False))}}
        for split, shade in (("train", "series-2"), ("valid", "series-1")):
            part = [row for row in rows if row["metric"] == f"{split}_{kind}"]
            named = escape(wording.name(f"{split}_{kind}"), quote=False)
            if part:
                traces.append(go.Scatter(
                    x=[row["epoch"] for row in part], y=[row["value"] for row in part], mode="lines+markers",
                    yaxis=f"y{number}", name=SPLITS[split], legendgroup=split, showlegend=place == 0,
                    line={"color": f"var(--{shade})", "width": 2.5},
                    hovertemplate=f"epoch %{{x}}: %{{y:.4f}}<extra>{named}</extra>"))
    return figure(traces, 110 + 130 * len(kinds), **axes,
                  xaxis={"title": {"text": "epoch"}, "dtick": 1 if epochs <= 20 else None,
                         "anchor": f"y{len(kinds)}" if len(kinds) > 1 else "y"})


def _kind_of_loss(metric: str) -> str:
    """train_loss -> loss, valid_next_type_loss -> next_type_loss"""
    return metric.partition("_")[2] if metric.partition("_")[0] in SPLITS else metric


def score_distribution(rows: Sequence[Row]) -> Figure:
    """Visitors by predicted purchase probability. The counts span decades, so their axis is logarithmic."""
    width = rows[0]["bin_width"]
    trace = go.Bar(
        x=[(row["bin"] - 0.5) * width for row in rows], y=[row["visitors"] for row in rows], width=width * 0.92,
        marker_color="var(--purchase)", hovertemplate="about %{x:.1%}<br>%{y:,} visitors<extra></extra>")
    return figure(
        [trace], 320,
        xaxis={"title": {"text": "probability of a purchase"}, "range": [0, 40 * width], "tickformat": ",.1~%"},
        yaxis={"title": {"text": "visitors (log scale)"}, "type": "log", "dtick": 1, "tickformat": ","})


def top_items(rows: Sequence[Row]) -> Figure:
    """The items that most visitors get recommended."""
    rows = list(reversed(rows))
    shares = [row["share_of_visitors"] for row in rows]
    trace = go.Bar(
        y=[escape(row["item_id"], quote=False) for row in rows], x=shares, orientation="h", marker_color="var(--view)",
        text=[wording.percent(share) for share in shares], textposition="auto",
        customdata=[row["visitors"] for row in rows],
        hovertemplate="item %{y}<br>%{customdata:,} visitors<extra></extra>")
    return figure([trace], 70 + 27 * len(rows), xaxis={"title": {"text": "share of visitors"}, **PERCENT_AXIS},
                  yaxis={**CATEGORIES, "title": {"text": "item"}})


def books(row: Row) -> Figure:
    """Raw rows as one bar: accepted, duplicates, rejected."""
    parts = (("accepted", "purchase"), ("duplicates", "cart"), ("rejected", "remove"))
    traces = [go.Bar(y=["rows"], x=[row[part]], name=part, orientation="h", marker_color=f"var(--{shade})",
                     hovertemplate=f"{part}: %{{x:,}}<extra></extra>") for part, shade in parts]
    return figure(traces, 130, barmode="stack", xaxis={"tickformat": "~s"}, yaxis={"visible": False})


def ours_first(models: Iterable[str]) -> list[str]:
    """Our model before the baselines, those by name."""
    return sorted(models, key=lambda model: (model != "purchasepath", model))
