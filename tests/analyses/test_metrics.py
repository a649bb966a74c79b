"""What the panels say of the model: no more than intervals allow."""

from __future__ import annotations

from typing import Any

import pytest

from purchasepath.analyses.metrics import next_item, of_task

UNSURE: dict[str, Any] = {"low": None, "high": None, "baseline": None, "difference": None, "difference_low": None,
                          "difference_high": None, "support": 90, "protocol": "test span"}


def rows(task: str, metric: str, k: int | None, ours: float, theirs: float, **difference: Any) -> list[dict[str, Any]]:
    row = {**UNSURE, "task": task, "metric": metric, "k": k}
    return [{**row, "model": "purchasepath", "value": ours, **difference}, {**row, "model": "als", "value": theirs}]


def against(difference: float, low: float | None, high: float | None) -> dict[str, Any]:
    return {"baseline": "als", "difference": difference, "difference_low": low, "difference_high": high}


@pytest.mark.parametrize(("ours", "low", "high", "said"), [
    (0.30, 0.04, 0.16, "the model beats the baseline with the highest Recall@10: 0.300 against 0.200 for Latent "
                       "factors; the difference lies between +0.040 and +0.160."),
    (0.10, -0.16, -0.04, "the model falls behind the baseline with the highest Recall@10: 0.100 against 0.200 for "
                         "Latent factors; the difference lies between -0.160 and -0.040."),
    (0.21, -0.03, 0.05, "there is no difference that could not be chance between the model and the baseline with the "
                        "highest Recall@10: 0.210 against 0.200 for Latent factors; the difference lies between -0.030 "
                        "and +0.050."),
    (0.20, None, None, "there is no difference that could not be chance between the model and the baseline with the "
                       "highest Recall@10: 0.200 against 0.200 for Latent factors; too few visitors to tell more."),
])
def test_the_model_is_called_better_or_worse_only_where_the_interval_allows(
    ours: float, low: float | None, high: float | None, said: str
) -> None:
    content = next_item(rows("next_item", "recall", 10, ours, 0.2, **against(ours - 0.2, low, high)))
    assert content.reading == f"At guessing the next item {said}"


def test_every_metric_says_what_its_own_interval_allows() -> None:
    content = of_task("purchase")([
        *rows("purchase", "roc_auc", None, 0.8, 0.8, **against(0.0, -0.01, 0.01), **{"low": 0.78, "high": 0.82}),
        *rows("purchase", "log_loss", None, 0.2, 0.3, **against(-0.1, -0.15, -0.05))])
    assert content.grid
    assert content.grid.rows == (
        ("ROC-AUC", "0.8000 [0.7800, 0.8200]", "may be chance (Latent factors, -0.0100 to +0.0100)", "0.8000"),
        ("Log loss ↓", "0.2000", "better (Latent factors, -0.1500 to -0.0500)", "0.3000"))
    assert content.figure
    assert content.figure.data[0]["error_y"]["array"] == [pytest.approx(0.02)]
    assert content.figure.data[1]["error_y"]["array"] == [0.0]


def test_metrics_of_an_earlier_release_are_compared_with_nothing() -> None:
    content = next_item(rows("next_item", "recall", 10, 0.3, 0.2))
    assert content.reading.startswith("For guessing the next item there is nothing to compare")
