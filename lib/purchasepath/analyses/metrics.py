"""Metrics of the model beside those of its baselines, and what their intervals allow to say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape

from purchasepath.analyses.analysis import Analysis
from purchasepath.report import figures, wording
from purchasepath.report.panels import Content, Grid, Panel, Query, Row
from purchasepath.report.wording import count
from purchasepath.scoring.leaderboard import verdict
from purchasepath.scoring.measures import LOWER_IS_BETTER
from purchasepath.tables.catalog import METRICS
from purchasepath.tables.tasks import TASK, Kind

OURS = "purchasepath"
_UNMEASURED: Row = {"value": None, "low": None, "high": None}


QUERY = Query((METRICS,), """
SELECT model, task, metric, k, value, low, high,
       baseline, difference, difference_low, difference_high, support, protocol
FROM metrics
ORDER BY task, metric, k, model
""")


def next_item(rows: Sequence[Row]) -> Content:
    return _metrics(rows, "next_item", ("recall", "ndcg", "mrr"), "recall")


def of_task(task: str) -> Callable[[Sequence[Row]], Content]:
    drawn = {Kind.BINARY: ("roc_auc", "pr_auc"), Kind.AMOUNT: ("gini", "spearman", "top_decile_share")}[TASK[task].kind]
    return lambda rows: _metrics(rows, task, drawn, drawn[0])


def _metrics(rows: Sequence[Row], task: str, drawn: tuple[str, ...], judged: str) -> Content:
    """All metrics of a task as a table, the `drawn` ones as bars, and what can be said of the `judged` one."""
    rows = [row for row in rows if row["task"] == task]
    if not rows:
        return Content("Nothing was measured for this task.")
    models = ours_first({row["model"] for row in rows})
    cut_offs = sorted({row["k"] for row in rows if row["k"] is not None})
    middle = 10 if 10 in cut_offs else cut_offs[len(cut_offs) // 2] if cut_offs else None
    keys = list(dict.fromkeys((row["metric"], row["k"]) for row in sorted(rows, key=_metric_order)))
    found = {(row["model"], _key(row["metric"], row["k"])): row for row in rows}
    names = [_key(metric, k) for metric, k in keys]
    shown = [_key(metric, k) for metric, k in keys if metric in drawn and k in (middle, None)]
    others = [model for model in models if model != OURS]
    grid = Grid(("metric", wording.name(OURS), "against the baseline ahead", *map(wording.name, others)), tuple(
        (_label(key), wording.sure_metric(found.get((OURS, key))), _against(found.get((OURS, key))),
         *(wording.metric(found[model, key]["value"] if (model, key) in found else None) for model in others))
        for key in names))
    judged_key = next((key for key in shown if key.split("@")[0] == judged), "")
    return Content(_comparison(task, found.get((OURS, judged_key))), _figure(models, shown, found), grid,
                   hint=_protocol(rows, models))


def _metric_order(row: Row) -> tuple[int, str, int]:
    order = ("recall", "ndcg", "mrr", "coverage", "roc_auc", "pr_auc", "gini", "spearman", "top_decile_share",
             "base_rate", "precision", "f1")
    # recall is a ranking metric where it has a cut-off, and belongs beside precision where it has none
    rank = order.index(row["metric"]) if row["metric"] in order else len(order)
    return (rank if row["k"] is not None or row["metric"] != "recall" else order.index("precision"),
            row["metric"], row["k"] or 0)


def _key(metric: str, k: int | None) -> str:
    return metric if k is None else f"{metric}@{k}"


def _label(key: str) -> str:
    metric, at, k = key.partition("@")
    lower = " ↓" if metric in LOWER_IS_BETTER else ""
    return wording.name(metric) + at + k + lower


def _comparison(task: str, ours: Row | None) -> str:
    """Whether the model is ahead, in words that the interval of the difference allows."""
    what = "guessing the next item" if task == "next_item" else (
        f"telling {TASK[task].title[0].lower()}{TASK[task].title[1:]}")
    if ours is None or ours["baseline"] is None:
        return f"For {what} there is nothing to compare: no baseline was measured beside the model with an interval."
    label, low, high = _label(_key(ours["metric"], ours["k"])), ours["difference_low"], ours["difference_high"]
    said = {
        "better": "the model beats", "worse": "the model falls behind",
        "no difference": "there is no difference that could not be chance between the model and",
    }[verdict(ours["metric"], low, high)]
    unsure = "too few visitors to tell more" if low is None else (
        f"the difference lies between {low:+.3f} and {high:+.3f}")
    return (f"At {what} {said} the baseline with the highest {label}: {ours['value']:.3f} against "
            f"{ours['value'] - ours['difference']:.3f} for {wording.name(ours['baseline'])}; {unsure}.")


def _against(ours: Row | None) -> str:
    """better (Latent factors, +0.0120 to +0.0240)"""
    if ours is None or ours["baseline"] is None:
        return ""
    low, high = ours["difference_low"], ours["difference_high"]
    said = verdict(ours["metric"], low, high).replace("no difference", "may be chance")
    ends = "too few visitors" if low is None else f"{low:+.4f} to {high:+.4f}"
    return f"{said} ({wording.name(ours['baseline'])}, {ends})"


def _protocol(rows: Sequence[Row], models: Sequence[str]) -> str:
    """What holds for all models once, then what each of them saw."""
    clauses = {row["model"]: (row["protocol"] or "").rstrip(".").split("; ") for row in rows}
    shared = [clause for clause in clauses[models[0]] if all(clause in of_one for of_one in clauses.values())]
    own = {model: "; ".join(clause for clause in clauses[model] if clause not in shared) for model in models}
    sentences = ["; ".join(shared), *(f"{wording.name(model)}: {clause}" for model, clause in own.items() if clause)]
    support = max(row["support"] for row in rows)
    told = [f"Measured on {count(support)} cases.", *(f"{s[:1].upper()}{s[1:]}." for s in sentences if s)]
    if any(row["metric"] in LOWER_IS_BETTER for row in rows):
        told.append("↓ lower is better.")
    if any(row["low"] is not None for row in rows):
        told.append("In brackets and as whiskers: 95 % intervals, from resampling visitors.")
    return " ".join(told)


def _figure(models: Sequence[str], metrics: Sequence[str], found: Mapping[tuple[str, str], Row]) -> figures.Figure:
    """One group of bars per metric, one bar per model, with its interval as whiskers."""
    labels = [wording.name(m.split("@")[0]) + (f"@{m.split('@')[1]}" if "@" in m else "") for m in metrics]
    traces = []
    for model, shade in zip(models, figures.SERIES, strict=False):
        rows = [found.get((model, metric), _UNMEASURED) for metric in metrics]
        heights = [row["value"] for row in rows]
        traces.append(figures.trace(
            "bar", x=labels, y=heights, name=escape(wording.name(model), quote=False), marker_color=f"var(--{shade})",
            text=["" if h is None else f"{h:.3f}" for h in heights], textposition="inside", insidetextanchor="start",
            constraintext="none", customdata=[wording.sure_metric(row) for row in rows],
            error_y={"type": "data", "symmetric": False, "thickness": 1.5, "width": 3, "color": "var(--ink)",
                     "array": [_whisker(row, "high") for row in rows],
                     "arrayminus": [_whisker(row, "low") for row in rows]},
            hovertemplate="%{x}: %{customdata}<extra>%{fullData.name}</extra>"))
    return figures.figure(traces, 330, barmode="group", bargap=0.25, xaxis=figures.CATEGORIES,
                          yaxis={"rangemode": "tozero"})


def _whisker(row: Row, end: str) -> float:
    """Length of a whisker; 0 without an interval."""
    return abs(row[end] - row["value"]) if row[end] is not None else 0.0


def ours_first(models: Iterable[str]) -> list[str]:
    """Our model before the baselines, those by name."""
    return sorted(models, key=lambda model: (model != "purchasepath", model))


ANALYSIS = Analysis("metrics", (
    Panel("next-item", "Which item comes next", QUERY, next_item),
    *(Panel(task, TASK[task].title, QUERY, of_task(task)) for task in ("purchase", "churn", "value")),
))
