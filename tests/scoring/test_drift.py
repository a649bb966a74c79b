"""Drift: the stability index against its definition and its limits."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from purchasepath.scoring.drift import Drift, measure_drift, measure_item_change, stability_index

HISTOGRAM = st.dictionaries(st.integers(-50, 50), st.integers(1, 500), min_size=1, max_size=40)
DRIFT = Drift("purchase", date(2024, 1, 1), 1.5, 2_000, 3_000, 0.1, 0.2)


@given(HISTOGRAM)
def test_equal_histograms_have_no_drift(histogram: dict[int, int]) -> None:
    assert stability_index(histogram, histogram) == 0


@given(HISTOGRAM, HISTOGRAM)
def test_drift_is_finite_and_never_negative(before: dict[int, int], now: dict[int, int]) -> None:
    assert 0 <= stability_index(before, now) < math.inf


def test_stability_index_worked_out_by_hand() -> None:
    # ten deciles of one bin each; now everybody is in the lowest: shares (n + 0.5) / 105
    before, now = dict.fromkeys(range(10), 10), {0: 100}
    p, q0, q = 10.5 / 105, 100.5 / 105, 0.5 / 105
    assert stability_index(before, now) == pytest.approx((q0 - p) * math.log(q0 / p) + 9 * (q - p) * math.log(q / p))


def test_values_never_seen_before_fall_into_the_nearest_decile_below() -> None:
    before = dict.fromkeys(range(10), 10)
    assert stability_index(before, {**dict.fromkeys(range(9), 10), 40: 10}) == 0
    assert stability_index(before, {**dict.fromkeys(range(1, 10), 10), -40: 10}) == 0


def test_leaving_the_one_probability_that_everybody_had_is_drift() -> None:
    assert stability_index({-20: 100}, {-90: 100}) > 1
    assert stability_index({-20: 100}, {60: 100}) > 1


def test_a_bin_that_holds_most_users_is_not_split() -> None:
    assert stability_index({0: 95, 7: 5}, {0: 95, 7: 5}) == 0
    assert stability_index({0: 95, 7: 5}, {0: 5, 7: 95}) > 1


def test_a_gate_of_zero_is_open_and_few_users_are_not_judged() -> None:
    assert DRIFT.exceeds(1.0)
    assert not DRIFT.exceeds(2.0)
    assert not DRIFT.exceeds(0)
    assert not replace(DRIFT, users_before=999).exceeds(1.0)


def test_drift_is_measured_by_task_and_of_tasks_that_are_on_both_sides(spark: Any) -> None:
    answers = "task string, value float"
    before = spark.createDataFrame(
        [("purchase", 0.1), ("purchase", 0.2), ("purchase", 0.3), ("value", 0.0), ("value", 40.0)], answers)
    now = spark.createDataFrame([("purchase", 0.1), ("purchase", 0.2), ("purchase", 0.0), ("churn", 0.5)], answers)
    (drift,) = measure_drift(before, now, dict.fromkeys(("purchase", "value", "churn"), date(2024, 1, 1)))
    assert (drift.task, drift.users_before, drift.users_now) == ("purchase", 3, 3)
    assert (drift.mean_before, drift.mean_now) == (pytest.approx(0.2), pytest.approx(0.1))
    assert drift.psi > 0
    (same,) = measure_drift(before, before, {"value": date(2024, 1, 1)})
    assert (same.psi, same.mean_now) == (0, 20.0)


def test_users_whose_first_item_changed_are_counted(spark: Any) -> None:
    best = "user_id string, item_id string"
    change = measure_item_change(spark.createDataFrame([("a", "x"), ("b", "y"), ("c", "z")], best),
                                 spark.createDataFrame([("a", "x"), ("b", "w"), ("d", "z")], best), date(2024, 1, 1))
    assert (change.users, change.changed) == (2, 1)
    assert str(change) == "another first item than on 2024-01-01 for 50.0% of 2 users"
