"""Losses of the training by epoch, on training and validation data."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from purchasepath.analyses.analysis import Analysis
from purchasepath.report import figures, wording
from purchasepath.report.panels import Content, Panel, Query, Row
from purchasepath.tables.catalog import TRAINING_CURVES

SPLITS = {"train": "training", "valid": "validation"}
_KINDS_OF_LOSS = {"loss": "loss, all together", "item_loss": "next item", "purchase_loss": "purchase",
                  "session_loss": "purchase in the session", "churn_loss": "churn", "next_type_loss": "next type"}

QUERY = Query((TRAINING_CURVES,), """
SELECT epoch, metric, value
FROM training_curves
ORDER BY metric, epoch
""")


def _draw(rows: Sequence[Row]) -> Content:
    losses = [row for row in rows if "loss" in row["metric"] and row["value"] is not None]
    epochs = max(row["epoch"] for row in rows)
    valid = [row for row in losses if row["metric"] == "valid_loss"]
    if not valid:
        return Content(f"The model was trained for {epochs} epochs.", _figure(losses or rows))
    best = min(valid, key=lambda row: (row["value"], row["epoch"]))
    return Content(f"Of {epochs} epochs, epoch {best['epoch']} had the lowest validation loss ({best['value']:.4f}).",
                   _figure(losses))


def _figure(rows: Sequence[Row]) -> figures.Figure:
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
                traces.append(figures.trace(
                    "scatter", x=[row["epoch"] for row in part], y=[row["value"] for row in part], mode="lines+markers",
                    yaxis=f"y{number}", name=SPLITS[split], legendgroup=split, showlegend=place == 0,
                    line={"color": f"var(--{shade})", "width": 2.5},
                    hovertemplate=f"epoch %{{x}}: %{{y:.4f}}<extra>{named}</extra>"))
    return figures.figure(traces, 110 + 130 * len(kinds), **axes,
                          xaxis={"title": {"text": "epoch"}, "dtick": 1 if epochs <= 20 else None,
                                 "anchor": f"y{len(kinds)}" if len(kinds) > 1 else "y"})


def _kind_of_loss(metric: str) -> str:
    """train_loss -> loss, valid_next_type_loss -> next_type_loss"""
    return metric.partition("_")[2] if metric.partition("_")[0] in SPLITS else metric


ANALYSIS = Analysis("training_curves", (Panel("training", "How the training went", QUERY, _draw),))
