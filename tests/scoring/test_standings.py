"""What is said of a model beside its baselines: no more than the interval of the difference allows."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from purchasepath.scoring.leaderboard import format_leaderboard, verdict
from purchasepath.tables.catalog import METRICS


@pytest.mark.parametrize(("metric", "low", "high", "said"), [
    ("recall", 0.01, 0.02, "better"), ("recall", -0.02, -0.01, "worse"), ("recall", -0.01, 0.02, "no difference"),
    ("log_loss", 0.01, 0.02, "worse"), ("log_loss", -0.02, -0.01, "better"), ("log_loss", 0.0, 0.0, "no difference"),
    ("roc_auc", 0.0, 0.1, "no difference"), ("roc_auc", None, None, "no difference"),
])
def test_a_difference_is_one_where_its_interval_leaves_0_out(
    metric: str, low: float | None, high: float | None, said: str
) -> None:
    assert verdict(metric, low, high) == said


def test_standings_say_what_is_more_than_chance(spark: SparkSession) -> None:
    def ours(task: str, metric: str, k: int | None, ends: tuple[float, float] | tuple[None, None]) -> dict[str, object]:
        return {"model": "purchasepath", "task": task, "metric": metric, "k": k, "value": 0.5, "baseline": "als",
                "difference": 0.1, "difference_low": ends[0], "difference_high": ends[1]}

    rows = [ours("next_item", "recall", 10, (0.05, 0.15)), ours("next_item", "ndcg", 10, (-0.15, -0.05)),
            ours("purchase", "roc_auc", None, (-0.1, 0.3)), ours("purchase", "log_loss", None, (-0.2, -0.1)),
            ours("cold_item", "recall", 10, (None, None)),
            {"model": "als", "task": "next_item", "metric": "recall", "k": 10, "value": 0.4}]
    _, below = format_leaderboard(METRICS.frame(spark, rows)).split("visitors resampled):\n")
    assert [line.split("  ")[-1].strip() for line in below.splitlines()] == [
        "better than als: +0.0500 to +0.1500", "worse than als: -0.1500 to -0.0500",
        "no difference to als that could not be chance: too few visitors",
        "no difference to als that could not be chance: -0.1000 to +0.3000", "better than als: -0.2000 to -0.1000"]


def test_metrics_of_an_earlier_release_are_shown_without_a_verdict(spark: SparkSession) -> None:
    row = {"task": "next_item", "metric": "recall", "k": 10, "value": 0.4}
    shown = format_leaderboard(METRICS.frame(spark, [{**row, "model": model} for model in ("purchasepath", "als")]))
    assert len(shown.splitlines()) == 2
