"""Rows of METRICS and CALIBRATION from what the models answered; every number says how it was measured, how surely.

Legend: R samples of visitors (see `intervals.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from purchasepath.bundle.bundle import Bundle
from purchasepath.config import Evaluate
from purchasepath.datasets.manifest import FIRST_ITEM, Manifest
from purchasepath.scoring.amounts import AmountCounts, amount_metrics, decile_bins
from purchasepath.scoring.answers import Answers, TypeCounts
from purchasepath.scoring.intervals import interval, resample
from purchasepath.scoring.measures import (
    LOWER_IS_BETTER,
    BinaryCounts,
    binary_metrics,
    calibration_bins,
    calibration_error,
    calibration_error_mass,
    ranking_metrics,
    ratio,
)
from purchasepath.tables.tasks import TASK, At
from purchasepath.training.metrics import PROTOCOL

OURS = "purchasepath"
NOT_COMPARED = ("base_rate", "mean", "sum_error")
"""What the data say, whoever is asked; and what is best at 0."""
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
    "linear_regression": "least squares on the standardised features and idle times of the train span, nothing below 0",
}


Row = dict[str, Any]
"""A row of METRICS, and `samples`: its value in every sample of visitors, None where it has no interval."""


def metric_rows(
    answers: Mapping[str, Answers], bundle: Bundle, manifest: Manifest, config: Evaluate, run_id: str
) -> list[dict[str, Any]]:
    """One row of METRICS per model, task, metric and cut-off."""
    rows: list[Row] = []
    for model, answer in answers.items():
        stamp = {"model": model, "model_version": bundle.version, "run_id": run_id}
        asked = _item_rows(model, answer, manifest, config)
        for task, counts in answer.binary.items():
            asked += _binary_rows(model, task, counts, answer.raw.get(task), manifest, config)
        for task, amounts in answer.amounts.items():
            asked += _amount_rows(model, task, amounts, manifest)
        if answer.types is not None:
            asked += _type_rows(model, answer.types, manifest)
        rows += [{**stamp, **row} for row in asked]
    for row in rows:
        row["low"], row["high"] = _interval(row["samples"])
        row |= _beside(row, [other for other in rows if _same(row, other)]) if row["model"] == OURS else {}
    return [{name: value for name, value in row.items() if name != "samples"} for row in rows]


def _same(row: Row, other: Row) -> bool:
    """Whether it is another model's on the same metric."""
    return row["model"] != other["model"] and all(row[name] == other[name] for name in ("task", "metric", "k"))


def _interval(samples_R: np.ndarray | None) -> tuple[float | None, float | None]:
    return (None, None) if samples_R is None else interval(samples_R)


def _beside(ours: Row, others: Sequence[Row]) -> dict[str, Any]:
    """The baseline with the highest (of a loss: lowest) value, and the difference to it."""
    sign = -1 if ours["metric"] in LOWER_IS_BETTER else 1
    measured = [row for row in others if row["value"] is not None and row["samples"] is not None]
    if not measured or ours["value"] is None or ours["metric"] in NOT_COMPARED:
        return {}
    ahead = max(measured, key=lambda row: sign * row["value"])
    low, high = interval(ours["samples"] - ahead["samples"])
    return {"baseline": ahead["model"], "difference": ours["value"] - ahead["value"], "difference_low": low,
            "difference_high": high}


def calibration_rows(answers: Mapping[str, Answers]) -> list[dict[str, Any]]:
    """One row of CALIBRATION per model, task and bin that holds points."""
    bins = [(model, task, calibration_bins(counts))
            for model, answer in answers.items() for task, counts in answer.binary.items()]
    bins += [(model, task, decile_bins(counts))
             for model, answer in answers.items() for task, counts in answer.amounts.items()]
    return [{"model": model, "task": task, **vars(bin_)} for model, task, found in bins for bin_ in found]


def without_intervals(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line where no row of METRICS says how sure it is."""
    if any(row["low"] is not None for row in rows):
        return []
    return ["no number has an interval: the test span has too few visitors"]


def tracked_metrics(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Ours as names for a tracking store: test_ndcg_10, test_purchase_roc_auc, test_purchase_recall …"""
    return {_tracked_name(**row): row["value"] for row in rows if row["model"] == OURS and row["value"] is not None}


def _tracked_name(task: str, metric: str, k: int | None, **rest: Any) -> str:
    return f"test_{metric if task == 'next_item' else f'{task}_{metric}'}" + (f"_{k}" if k else "")


def _item_rows(model: str, answer: Answers, manifest: Manifest, config: Evaluate) -> list[Row]:
    if answer.ranks_GK is None or answer.cold_GK is None:
        return []
    protocol = f"next item in the test span, {PROTOCOL}, unknown items are missed; {_SAW[model]}; {_data(manifest)}"
    of_cold = f"of these targets those whose items have no history on the train span; {protocol}"
    items = manifest.num_items - FIRST_ITEM
    shown = {("coverage", k): answer.shown[k] / items if answer.targets else None for k in config.ks}
    return [
        *_ranking_rows("next_item", answer.ranks_GK, config.ks, protocol),
        *(_row("next_item", metric, k, value, None, answer.targets, protocol) for (metric, k), value in shown.items()),
        *_ranking_rows("cold_item", answer.cold_GK, config.ks, of_cold),
    ]


def _ranking_rows(task: str, ranks_GK: np.ndarray, ks: Sequence[int], protocol: str) -> list[Row]:
    values, samples = ranking_metrics(ranks_GK.sum(axis=0), ks), ranking_metrics(resample(ranks_GK), ks)
    targets = int(ranks_GK.sum())
    return [_row(task, metric, k, value, samples[metric, k], targets, protocol)
            for (metric, k), value in values.items()]


def _binary_rows(
    model: str, task: str, counts: BinaryCounts, raw: BinaryCounts | None, manifest: Manifest, config: Evaluate
) -> list[Row]:
    """The metrics of a yes-or-no task; those that calibration changes also as `<metric>_raw`, from before it."""
    measured = _binary_metrics(counts, config.threshold)
    if raw is not None:
        before = _binary_metrics(raw, config.threshold)
        measured |= {f"{metric}_raw": before[metric] for metric in CHANGED_BY_CALIBRATION}
    protocol = (f"{_asked(task, manifest)}, called a yes from {config.threshold:g}; {_SAW[model]}; "
                f"{_data(manifest)}")
    return [_row(task, metric, None, value, samples, counts.points, protocol)
            for metric, (value, samples) in measured.items()]


def _binary_metrics(counts: BinaryCounts, threshold: float) -> dict[str, tuple[Any, np.ndarray | None]]:
    """Metric -> its value, and its values in the samples."""
    values = binary_metrics(counts.everybody, threshold)
    samples = binary_metrics(counts.samples, threshold)
    errors = {"calibration_error": calibration_error(counts), "calibration_error_mass": calibration_error_mass(counts)}
    return {metric: (value, samples[metric]) for metric, value in values.items()} | {
        metric: (value, None) for metric, value in errors.items()}


def _amount_rows(model: str, task: str, counts: AmountCounts, manifest: Manifest) -> list[Row]:
    """The metrics of a task whose answer is an amount or a count."""
    protocol = f"{_asked(task, manifest)}; {_SAW[model]}; {_data(manifest)}"
    return [_row(task, metric, None, value, samples, counts.points, protocol)
            for metric, (value, samples) in amount_metrics(counts).items()] if counts.points else []


def _asked(task: str, manifest: Manifest) -> str:
    """What is asked, and where."""
    meaning = TASK[task].meaning.format(horizon=f"{manifest.horizon_hours.get(task, 0):g}")
    if TASK[task].at == At.AS_OF:
        return f"{meaning} of the test span's as-of times"
    return f"{meaning}, asked at every event of the test span before the first one in its session"


def _type_rows(model: str, counts: TypeCounts, manifest: Manifest) -> list[Row]:
    protocol = f"type of the next event, asked at every event of the test span; {_SAW[model]}; {_data(manifest)}"
    rows = []
    for metric, total_G in (("accuracy", counts.hits_G), ("log_loss", counts.nats_G)):
        sums_GX = np.stack([total_G, counts.places_G], axis=1)
        value, samples = (ratio(sums[..., 0], sums[..., 1]) for sums in (sums_GX.sum(axis=0), resample(sums_GX)))
        rows.append(_row("next_type", metric, None, value, samples, int(counts.places_G.sum()), protocol))
    return rows


def _row(
    task: str, metric: str, k: int | None, value: Any, samples: np.ndarray | None, support: int, protocol: str
) -> Row:
    """`samples` are moved to where the value is: they were computed by cells of probabilities."""
    known = value is not None and not math.isnan(value)
    return {
        "task": task, "metric": metric, "k": k, "value": float(value) if known else None,
        "samples": samples + (value - samples[0]) if known and samples is not None else None,
        "support": support, "protocol": protocol,
    }


def _data(manifest: Manifest) -> str:
    """Where the data came from; generated data is called synthetic wherever it is shown."""
    return f"data: {manifest.source}" + (" (synthetic)" if manifest.source == "simulated" else "")
