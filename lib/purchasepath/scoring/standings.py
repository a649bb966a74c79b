"""The model beside its baselines, as a small text table."""

from __future__ import annotations

from pyspark.sql import DataFrame

SHOWN = (
    ("next_item", "recall", 10), ("next_item", "ndcg", 10), ("next_item", "mrr", 10), ("next_item", "coverage", 10),
    ("cold_item", "recall", 10),
    ("purchase", "roc_auc", None), ("purchase", "pr_auc", None), ("purchase", "log_loss", None),
    ("purchase", "calibration_error", None), ("purchase", "calibration_error_raw", None),
    ("session", "roc_auc", None), ("session", "pr_auc", None), ("session", "calibration_error", None),
    ("churn", "roc_auc", None), ("churn", "pr_auc", None), ("churn", "calibration_error", None),
    ("next_type", "accuracy", None), ("next_type", "log_loss", None),
)
OURS = "purchasepath"


def format_standings(metrics: DataFrame) -> str:
    """One line per metric, one column per model, ours first. METRICS is small: a row per model and metric."""
    found = {(r.task, r.metric, r.k, r.model): r.value for r in metrics.collect()}
    models = sorted({key[3] for key in found}, key=lambda m: (m != OURS, m))
    lines = [f"{'test metric':<28}" + "".join(f"{m:>21}" for m in models)]
    for task, metric, k in SHOWN:
        values = [found.get((task, metric, k, m)) for m in models]
        if any(v is not None for v in values):
            name = f"{task} {metric}" + (f"@{k}" if k else "")
            lines.append(f"{name:<28}" + "".join(f"{'-' if v is None else f'{v:.4f}':>21}" for v in values))
    return "\n".join(lines)
