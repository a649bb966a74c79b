"""Metrics against their definitions over single targets and points, and against scikit-learn."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from purchasepath.scoring.measures import (
    CELLS,
    BinaryCounts,
    binary_metrics,
    calibration_bins,
    calibration_error,
    calibration_error_mass,
    cells_of,
    ranking_metrics,
)

POINTS = st.lists(st.tuples(st.integers(0, 1_000_000), st.integers(0, 1)), min_size=2, max_size=60)


def counts_of(points: list[tuple[int, int]]) -> BinaryCounts:
    return BinaryCounts.of(Counter(points))


def metrics_of(points: list[tuple[int, int]]) -> dict[str, float]:
    return {name: float(value) for name, value in binary_metrics(counts_of(points).everybody, 0.5).items()}


@given(st.lists(st.integers(1, 25), min_size=1, max_size=50))
def test_ranking_metrics_equal_their_definition(ranks: list[int]) -> None:
    found = ranking_metrics(np.bincount(ranks, minlength=26), (1, 5, 20))
    for k in (1, 5, 20):
        inside = [r for r in ranks if r <= k]
        assert found["recall", k] == pytest.approx(len(inside) / len(ranks))
        assert found["ndcg", k] == pytest.approx(sum(1 / math.log2(r + 1) for r in inside) / len(ranks))
        assert found["mrr", k] == pytest.approx(sum(1 / r for r in inside) / len(ranks))


def test_ranking_metrics_worked_out_by_hand() -> None:
    found = ranking_metrics(np.bincount([1, 3, 21, 21]), (2, 5))
    assert found == {("recall", 2): 0.25, ("ndcg", 2): 0.25, ("mrr", 2): 0.25,
                     ("recall", 5): 0.5, ("ndcg", 5): 0.375, ("mrr", 5): pytest.approx((1 + 1 / 3) / 4)}


def test_no_target_leaves_ranking_metrics_undefined() -> None:
    assert np.isnan(list(ranking_metrics(np.zeros(7), (5,)).values())).all()


@settings(deadline=None)
@given(POINTS)
def test_binary_metrics_equal_scikit_learn_on_single_points(points: list[tuple[int, int]]) -> None:
    labels, predicted = [label for _, label in points], [step / 1_000_000 for step, _ in points]
    found = metrics_of(points)
    called = [p >= 0.5 for p in predicted]
    if len(set(labels)) == 2:
        assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(labels, predicted))
        assert found["pr_auc"] == pytest.approx(sk.average_precision_score(labels, predicted))
        assert found["recall"] == pytest.approx(sk.recall_score(labels, called))
        assert found["f1"] == pytest.approx(sk.f1_score(labels, called))
    if any(called):
        assert found["precision"] == pytest.approx(sk.precision_score(labels, called))
    clipped = [min(max(p, 5e-7), 1 - 5e-7) for p in predicted]
    assert found["log_loss"] == pytest.approx(sk.log_loss(labels, clipped, labels=[0, 1]))
    assert found["base_rate"] == pytest.approx(sum(labels) / len(labels))


def test_calibration_worked_out_by_hand() -> None:
    # bin 3 holds 0.30 and 0.34 (mean 0.32, half bought); bin 9 holds 1.00 (bought)
    counts = counts_of([(300_000, 1), (340_000, 0), (1_000_000, 1)])
    bins = [(b.bin, b.points, round(b.mean_predicted, 9), b.observed) for b in calibration_bins(counts)]
    assert bins == [(3, 2, 0.32, 0.5), (9, 1, 1.0, 1.0)]
    assert calibration_error(counts) == pytest.approx(2 / 3 * 0.18)


def test_calibration_by_mass_worked_out_by_hand() -> None:
    # 16 points below .1, one bin of width: ten of .01 of which 2 said yes, six of .09 of which none did
    counts = counts_of([(10_000, 0)] * 8 + [(10_000, 1)] * 2 + [(90_000, 0)] * 6)
    assert calibration_error(counts) == pytest.approx(abs((10 * 0.01 + 6 * 0.09) / 16 - 2 / 16))
    assert calibration_error_mass(counts) == pytest.approx((10 * (0.2 - 0.01) + 6 * 0.09) / 16)


def test_as_many_points_as_bins_of_equal_mass_stand_alone() -> None:
    points = [(step * 7_000, step % 2) for step in range(10)]
    expected = sum(abs(step / 1_000_000 - label) for step, label in points) / 10
    assert calibration_error_mass(counts_of(points)) == pytest.approx(expected)


def test_a_certain_and_wrong_prediction_has_a_finite_loss() -> None:
    assert metrics_of([(0, 1)])["log_loss"] == pytest.approx(-math.log(5e-7))


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_leaves_the_curves_undefined(label: int) -> None:
    found = metrics_of([(200_000, label), (700_000, label)])
    assert math.isnan(found["roc_auc"])
    assert math.isnan(found["pr_auc"])
    assert found["base_rate"] == label
    assert found["log_loss"] > 0


def test_no_point_leaves_everything_undefined() -> None:
    assert np.isnan(list(metrics_of([]).values())).all()
    assert calibration_error(counts_of([])) is calibration_error_mass(counts_of([])) is None


@given(st.lists(st.integers(0, 1_000_000), min_size=2, max_size=20))
def test_cells_rise_with_the_probability_and_one_half_begins_one(steps: list[int]) -> None:
    cell_N = cells_of(np.array(sorted([*steps, 0, 499_999, 500_000, 1_000_000])))
    assert (np.diff(cell_N) >= 0).all()
    assert (cell_N[0], cell_N[-1]) == (0, CELLS - 1)
    assert cells_of(np.array([499_999, 500_000])).tolist() == [CELLS // 2 - 1, CELLS // 2]
