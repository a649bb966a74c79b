"""The model beside its baselines, as a small text table, and which differences are more than chance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pyspark.sql import DataFrame

from purchasepath.scoring.measures import LOWER_IS_BETTER
from purchasepath.tables.tasks import TASKS, Kind

_OF_KIND = {
    Kind.BINARY: ("roc_auc", "pr_auc", "log_loss", "calibration_error", "calibration_error_raw"),
    Kind.AMOUNT: ("spearman", "gini", "top_decile_share", "sum_error"),
    Kind.COUNT: ("spearman", "gini", "top_decile_share", "sum_error"),
    Kind.CHOICE: ("accuracy", "log_loss"),
}
SHOWN = (
    ("next_item", "recall", 10), ("next_item", "ndcg", 10), ("next_item", "mrr", 10), ("next_item", "coverage", 10),
    ("cold_item", "recall", 10),
    *((task.name, metric, None) for task in TASKS for metric in _OF_KIND.get(task.kind, ())),
)
OURS = "purchasepath"

Verdict = Literal["better", "worse", "no difference"]


def verdict(metric: str, low: float | None, high: float | None) -> Verdict:
    """What the interval of a difference (ours - theirs) allows to say: nothing where it holds 0 or is not told."""
    if low is None or high is None or low <= 0 <= high:
        return "no difference"
    return "better" if (low > 0) != (metric in LOWER_IS_BETTER) else "worse"


def format_leaderboard(metrics: DataFrame) -> str:
    """One line per metric, one column per model, ours first; below, ours against the baseline that is ahead.

    METRICS is small: a row per model and metric.
    """
    found = {(r.task, r.metric, r.k, r.model): r.asDict() for r in metrics.collect()}
    models = sorted({key[3] for key in found}, key=lambda m: (m != OURS, m))
    lines, compared = [f"{'test metric':<28}" + "".join(f"{m:>21}" for m in models)], []
    for task, metric, k in SHOWN:
        rows = [found.get((task, metric, k, m), {}) for m in models]
        values = [row.get("value") for row in rows]
        name = f"{task} {metric}" + (f"@{k}" if k else "")
        if any(v is not None for v in values):
            lines.append(f"{name:<28}" + "".join(f"{'-' if v is None else f'{v:.4f}':>21}" for v in values))
        if rows and rows[0].get("baseline"):
            compared.append(f"{name:<28}{_against(rows[0])}")
    if compared:
        title = "against the baseline that is ahead in the metric (95 % intervals, visitors resampled):"
        lines += [f"{OURS} {title}", *compared]
    return "\n".join(lines)


def _against(row: Mapping[str, Any]) -> str:
    """better than als: +0.0123 to +0.0456"""
    low, high = row["difference_low"], row["difference_high"]
    found = verdict(row["metric"], low, high)
    told = f"no difference to {row['baseline']} that could not be chance" if found == "no difference" else (
        f"{found} than {row['baseline']}")
    return f"{told}: " + ("too few visitors" if low is None else f"{low:+.4f} to {high:+.4f}")
