"""Numbers as people read them: 18,206 · 3.4 % · 2 min. A number and its unit never part at a line's end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

NBSP = "\u00a0"

NAMES = {
    "purchasepath": "Purchasepath", "popular_7d": "Popular, last 7 days",
    "popular_category_7d": "Popular in the category, last 7 days", "markov_1": "First-order Markov",
    "markov_2": "Second-order Markov", "item_knn": "Item neighbours", "als": "Latent factors",
    "logistic_regression": "Logistic regression", "linear_regression": "Linear regression",
    "gini": "Gini, normalised", "spearman": "Rank correlation", "top_decile_share": "Share of the best tenth",
    "sum_error": "Error of the sum", "decile_error": "Error of tenths", "mean": "Mean",
    "roc_auc": "ROC-AUC", "pr_auc": "PR-AUC", "ndcg": "NDCG",
    "mrr": "MRR", "f1": "F1", "log_loss": "Log loss", "calibration_error": "Calibration error",
    "log_loss_raw": "Log loss before calibration", "calibration_error_raw": "Calibration error before calibration",
    "calibration_error_mass": "Calibration error, bins of equal mass",
    "calibration_error_mass_raw": "Calibration error, bins of equal mass, before calibration",
    "base_rate": "Base rate", "recall": "Recall", "precision": "Precision", "coverage": "Coverage",
    "train_loss": "Training loss", "valid_loss": "Validation loss",
    **{f"{split}_{question}_loss": f"{told}, {asked}"
       for split, told in (("train", "Training"), ("valid", "Validation"))
       for question, asked in (("item", "next item"), ("purchase", "purchase"), ("session", "purchase in the session"),
                               ("churn", "churn"), ("next_type", "next type"), ("value", "spending"),
                               ("orders", "orders"), ("returns", "returns"))},
}


def name(word: str) -> str:
    """The name people use for a model or metric of ours; any other word as it is."""
    return NAMES.get(word, word)


def count(number: float) -> str:
    """18206 -> 18,206"""
    return f"{number:,.0f}"


def percent(share: float) -> str:
    """0.0342 -> 3.4 %; small shares keep two significant digits."""
    size = abs(share) * 100
    digits = 0 if size >= 99.95 or size == 0 else 1 if size >= 1 else 2
    return f"{share * 100:.{digits}f}{NBSP}%"


def short_percent(share: float) -> str:
    """0.0342 -> 3.4%, 0.342 -> 34%: for labels in a figure."""
    return f"{share * 100:.{0 if share >= 0.1 or share == 0 else 1}f}%"


def amount(value: float) -> str:
    """1234567.8 -> 1.23 million; below that with thousands separators."""
    for size, word in ((1e9, "billion"), (1e6, "million")):
        if abs(value) >= size:
            return f"{value / size:,.2f}{NBSP}{word}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"


def duration(seconds: float | None) -> str:
    """95 -> 1.6 min; nothing for None."""
    if seconds is None:
        return ""
    for size, unit in ((172_800, "d"), (5_400, "h"), (90, "min")):
        if seconds >= size:
            return f"{seconds / {'d': 86_400, 'h': 3_600, 'min': 60}[unit]:.1f}{NBSP}{unit}"
    return f"{seconds:.0f}{NBSP}s"


def day(moment: datetime | str) -> str:
    """2024-03-05 -> 5 March 2024"""
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return f"{at.day} {at:%B %Y}"


def metric(value: float | None) -> str:
    """Four decimals; a dash where the metric is not defined."""
    return "–" if value is None else f"{value:.4f}"


def sure_metric(row: Mapping[str, Any] | None) -> str:
    """0.1234 [0.1100, 0.1357]: a row's value and interval, as far as it has them."""
    if row is None or row["low"] is None:
        return metric(row["value"] if row else None)
    return f"{metric(row['value'])} [{metric(row['low'])}, {metric(row['high'])}]"
