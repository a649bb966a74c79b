"""Rows of METRICS and CALIBRATION from what the models answered; every number says how it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from purchasepath.bundle.bundle import Bundle
from purchasepath.config import Evaluate
from purchasepath.datasets.manifest import FIRST_ITEM, Manifest
from purchasepath.scoring.answers import Answers
from purchasepath.scoring.measures import calibration_bins, purchase_metrics, ranking_metrics
from purchasepath.training.metrics import PROTOCOL

OURS = "purchasepath"
_SAW = {
    OURS: "trained on the train span, stopped on the valid span",
    "popular_7d": "counted on the 7 days before the test span",
    "markov_1": "transitions of the train span, ties and unseen items by popular_7d",
    "markov_2": "transitions from the last two items of the train span, the rest as markov_1",
    "item_knn": "cosine of the train span's examples that two items share, the rest by popular_7d",
    "logistic_regression": "fitted on the standardised features and idle times of the train span",
}


def metric_rows(
    answers: Mapping[str, Answers], bundle: Bundle, manifest: Manifest, config: Evaluate, run_id: str
) -> list[dict[str, Any]]:
    """One row of METRICS per model, task, metric and cut-off."""
    rows = []
    for model, answer in answers.items():
        stamp = {"model": model, "model_version": bundle.version, "run_id": run_id}
        if answer.purchases is None or model == OURS:
            rows += [{**stamp, **row} for row in _item_rows(model, answer, manifest, config)]
        if answer.purchases is not None:
            rows += [{**stamp, **row} for row in _purchase_rows(model, answer, manifest, config)]
    return rows


def calibration_rows(answers: Mapping[str, Answers]) -> list[dict[str, Any]]:
    """One row of CALIBRATION per model and bin that holds points."""
    return [
        {"model": model, **vars(bin_)}
        for model, answer in answers.items() if answer.purchases is not None
        for bin_ in calibration_bins(answer.purchases)
    ]


def tracked_metrics(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Ours as names for a tracking store: test_ndcg_10, test_purchase_roc_auc, test_purchase_recall …"""
    return {
        f"test_{row['metric']}_{row['k']}" if row["task"] == "next_item" else f"test_purchase_{row['metric']}":
            row["value"]
        for row in rows if row["model"] == OURS and row["value"] is not None
    }


def _item_rows(model: str, answer: Answers, manifest: Manifest, config: Evaluate) -> list[dict[str, Any]]:
    targets, items = sum(answer.ranks.values()), manifest.num_items - FIRST_ITEM
    values = ranking_metrics(answer.ranks, config.ks)
    values |= {("coverage", k): answer.shown[k] / items if targets else None for k in config.ks}
    protocol = f"next item in the test span, {PROTOCOL}, unknown items are missed; {_SAW[model]}; {_data(manifest)}"
    return [
        {"task": "next_item", "metric": metric, "k": k, "value": value, "support": targets, "protocol": protocol}
        for (metric, k), value in values.items()
    ]


def _purchase_rows(model: str, answer: Answers, manifest: Manifest, config: Evaluate) -> list[dict[str, Any]]:
    assert answer.purchases is not None
    protocol = (
        f"purchase within {manifest.boundaries.horizon_hours:g} h of the test span's as-of times, "
        f"called a buyer from {config.threshold:g}; {_SAW[model]}; {_data(manifest)}"
    )
    return [
        {"task": "purchase", "metric": metric, "k": None, "value": value, "support": answer.purchases.points,
         "protocol": protocol}
        for metric, value in purchase_metrics(answer.purchases, config.threshold).items()
    ]


def _data(manifest: Manifest) -> str:
    """Where the data came from; generated data is called synthetic wherever it is shown."""
    return f"data: {manifest.source}" + (" (synthetic)" if manifest.source == "simulated" else "")
