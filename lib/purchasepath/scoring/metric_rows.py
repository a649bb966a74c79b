"""Rows of METRICS and CALIBRATION from what the models answered; every number says how it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from purchasepath.bundle.bundle import Bundle
from purchasepath.config import Evaluate
from purchasepath.datasets.manifest import FIRST_ITEM, Manifest
from purchasepath.scoring.answers import Answers, TypeCounts
from purchasepath.scoring.measures import BinaryCounts, binary_metrics, calibration_bins, ranking_metrics
from purchasepath.training.metrics import PROTOCOL

OURS = "purchasepath"
CHANGED_BY_CALIBRATION = ("log_loss", "calibration_error", "calibration_error_mass")
_SAW = {
    OURS: "trained on the train span, stopped and calibrated on the valid span",
    "popular_7d": "counted on the 7 days before the test span",
    "popular_category_7d": "the 7 days before the test span within the last item's category, the rest by popular_7d",
    "markov_1": "transitions of the train span, ties and unseen items by popular_7d",
    "markov_2": "transitions from the last two items of the train span, the rest as markov_1",
    "item_knn": "cosine of the train span's examples that two items share, the rest by popular_7d",
    "als": "latent factors of the items fitted on the train span's examples, the history's solved for at the target, "
           "without known items by popular_7d",
    "logistic_regression": "fitted on the standardised features and idle times of the train span",
}


def metric_rows(
    answers: Mapping[str, Answers], bundle: Bundle, manifest: Manifest, config: Evaluate, run_id: str
) -> list[dict[str, Any]]:
    """One row of METRICS per model, task, metric and cut-off."""
    rows = []
    for model, answer in answers.items():
        stamp = {"model": model, "model_version": bundle.version, "run_id": run_id}
        asked = [] if answer.ranks is None else _item_rows(model, answer, answer.ranks, manifest, config)
        for question, counts in answer.binary.items():
            asked += _binary_rows(model, question, counts, answer.raw.get(question), manifest, config)
        if answer.types is not None:
            asked += _type_rows(model, answer.types, manifest)
        rows += [{**stamp, **row} for row in asked]
    return rows


def calibration_rows(answers: Mapping[str, Answers]) -> list[dict[str, Any]]:
    """One row of CALIBRATION per model and bin that holds points."""
    return [
        {"model": model, **vars(bin_)}
        for model, answer in answers.items() if "purchase" in answer.binary
        for bin_ in calibration_bins(answer.binary["purchase"])
    ]


def tracked_metrics(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Ours as names for a tracking store: test_ndcg_10, test_purchase_roc_auc, test_purchase_recall …"""
    return {_tracked_name(**row): row["value"] for row in rows if row["model"] == OURS and row["value"] is not None}


def _tracked_name(task: str, metric: str, k: int | None, **rest: Any) -> str:
    return f"test_{metric if task == 'next_item' else f'{task}_{metric}'}" + (f"_{k}" if k else "")


def _item_rows(
    model: str, answer: Answers, ranks: Mapping[int, int], manifest: Manifest, config: Evaluate
) -> list[dict[str, Any]]:
    targets, items = sum(ranks.values()), manifest.num_items - FIRST_ITEM
    values = ranking_metrics(ranks, config.ks)
    values |= {("coverage", k): answer.shown[k] / items if targets else None for k in config.ks}
    protocol = f"next item in the test span, {PROTOCOL}, unknown items are missed; {_SAW[model]}; {_data(manifest)}"
    rows: list[dict[str, Any]] = [
        {"task": "next_item", "metric": metric, "k": k, "value": value, "support": targets, "protocol": protocol}
        for (metric, k), value in values.items()
    ]
    cold = answer.cold or {}
    of_cold = f"of these targets those whose items have no history on the train span; {protocol}"
    return rows + [
        {"task": "cold_item", "metric": metric, "k": k, "value": value, "support": sum(cold.values()),
         "protocol": of_cold}
        for (metric, k), value in ranking_metrics(cold, config.ks).items()
    ]


def _binary_rows(
    model: str, question: str, counts: BinaryCounts, raw: BinaryCounts | None, manifest: Manifest, config: Evaluate
) -> list[dict[str, Any]]:
    """The metrics of a yes-or-no question; those that calibration changes also as `<metric>_raw`, from before it."""
    horizon = f"within {manifest.boundaries.horizon_hours:g} h of the test span's as-of times"
    asked = {
        "purchase": f"purchase {horizon}, called a buyer from {config.threshold:g}",
        "churn": f"no event {horizon}, called lost from {config.threshold:g}",
        "session": f"purchase later in the session, asked at every event of the test span before the first one in its "
                   f"session, called a buyer from {config.threshold:g}",
    }
    values = binary_metrics(counts, config.threshold)
    if raw is not None:
        before = binary_metrics(raw, config.threshold)
        values |= {f"{metric}_raw": before[metric] for metric in CHANGED_BY_CALIBRATION}
    return [
        {"task": question, "metric": metric, "k": None, "value": value, "support": counts.points,
         "protocol": f"{asked[question]}; {_SAW[model]}; {_data(manifest)}"}
        for metric, value in values.items()
    ]


def _type_rows(model: str, counts: TypeCounts, manifest: Manifest) -> list[dict[str, Any]]:
    values = {"accuracy": counts.hits, "log_loss": counts.nats}
    protocol = f"type of the next event, asked at every event of the test span; {_SAW[model]}; {_data(manifest)}"
    return [
        {"task": "next_type", "metric": metric, "k": None, "value": total / counts.places if counts.places else None,
         "support": counts.places, "protocol": protocol}
        for metric, total in values.items()
    ]


def _data(manifest: Manifest) -> str:
    """Where the data came from; generated data is called synthetic wherever it is shown."""
    return f"data: {manifest.source}" + (" (synthetic)" if manifest.source == "simulated" else "")
