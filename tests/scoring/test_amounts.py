"""Metrics of amounts from counts, against scipy and loops over the points themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from purchasepath.scoring.amounts import CELLS, AmountCounts, AmountSums, amount_metrics, cells_of_amounts, decile_bins
from purchasepath.scoring.intervals import BUCKETS, interval

AMOUNTS = st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6), st.integers(0, 40)), min_size=1, max_size=60)


def counted(predicted: np.ndarray, happened: np.ndarray, bucket: np.ndarray, batches: int = 1) -> AmountCounts:
    sums = AmountSums("value")
    for part in range(batches):
        sums.add(predicted[part::batches], happened[part::batches], bucket[part::batches])
    return AmountCounts.of({(kind.removeprefix("value "), bucket, key, what): n
                            for kind, _, bucket, key, what, n in sums.rows()})


def shop(size: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    taste = chance.normal(size=size)
    happened = np.where(chance.random(size) < 0.3, np.exp(2 + taste + chance.normal(size=size)), 0.0)
    return np.exp(1 + 0.8 * taste), happened, chance.integers(0, BUCKETS, size=size)


def gini(order: np.ndarray, happened: np.ndarray) -> float:
    heights = np.concatenate([[0.0], happened[np.argsort(order, kind="stable")].cumsum() / happened.sum()])
    return float(1 - (heights[1:] + heights[:-1]).sum() / len(happened))


def test_metrics_are_those_of_the_points_themselves() -> None:
    predicted, happened, bucket = shop()
    counts = counted(predicted, happened, bucket, batches=3)
    found = {name: value for name, (value, _) in amount_metrics(counts).items()}
    assert found["mean"] == pytest.approx(happened.mean(), rel=1e-6)
    assert found["sum_error"] == pytest.approx(predicted.sum() / happened.sum() - 1, rel=1e-6)
    assert found["spearman"] == pytest.approx(spearmanr(predicted, happened).statistic, abs=2e-3)
    assert found["gini"] == pytest.approx(gini(predicted, happened) / gini(happened, happened), abs=2e-3)
    top = np.argsort(-predicted)[: len(predicted) // 10]
    assert found["top_decile_share"] == pytest.approx(happened[top].sum() / happened.sum(), abs=0.01)


def test_intervals_hold_the_value_and_are_as_wide_as_samples_of_visitors_say() -> None:
    predicted, happened, bucket = shop()
    for name, (value, samples) in amount_metrics(counted(predicted, happened, bucket)).items():
        if samples is None:
            assert name == "decile_error"
            continue
        low, high = interval(samples + (value - samples[0]))
        assert low is not None
        assert high is not None
        assert low < value < high
    chance, drawn = np.random.default_rng(5), []
    for _ in range(300):
        some = chance.integers(0, len(happened), size=len(happened))
        drawn.append(spearmanr(predicted[some], happened[some]).statistic)
    samples = amount_metrics(counted(predicted, happened, bucket))["spearman"][1]
    assert samples is not None
    low, high = interval(samples)
    assert low is not None
    assert high is not None
    assert high - low == pytest.approx(np.quantile(drawn, 0.975) - np.quantile(drawn, 0.025), rel=0.3)


def test_the_right_order_has_a_gini_of_one_and_the_opposite_of_minus_one() -> None:
    happened = np.exp(np.linspace(0, 8, 100))
    bucket = np.arange(100)
    assert amount_metrics(counted(happened * 3, happened, bucket))["gini"][0] == pytest.approx(1.0, abs=0.02)
    assert amount_metrics(counted(1 / happened, happened, bucket))["gini"][0] == pytest.approx(-1.0, abs=0.02)


def test_nothing_came_or_all_were_answered_alike() -> None:
    bucket = np.arange(50)
    nothing = amount_metrics(counted(np.ones(50), np.zeros(50), bucket))
    assert nothing["mean"][0] == 0
    assert all(np.isnan(nothing[name][0]) for name in ("sum_error", "gini", "top_decile_share", "spearman"))
    alike = amount_metrics(counted(np.ones(50), np.arange(50.0), bucket))
    assert np.isnan(alike["spearman"][0])
    assert alike["gini"][0] == pytest.approx(0, abs=1e-9)


@given(AMOUNTS)
@settings(max_examples=60, deadline=None)
def test_every_point_is_in_one_tenth_and_sums_are_kept(points: list[tuple[float, float, int]]) -> None:
    predicted, happened, bucket = (np.array(part) for part in zip(*points, strict=True))
    bins = decile_bins(counted(predicted, happened, bucket))
    assert sum(b.points for b in bins) == len(points)
    assert sum(b.points * b.mean_predicted for b in bins) == pytest.approx(predicted.sum(), rel=1e-6, abs=1e-4)
    assert sum(b.points * b.observed for b in bins) == pytest.approx(happened.sum(), rel=1e-6, abs=1e-4)


@given(st.lists(st.floats(0, 1e12), min_size=2, max_size=50))
def test_cells_rise_with_the_value(values: list[float]) -> None:
    cell_N = cells_of_amounts(np.sort(np.array(values)))
    assert (np.diff(cell_N) >= 0).all()
    assert cell_N.min() >= 0
    assert cell_N.max() < CELLS
    assert ((cell_N == 0) == (np.sort(np.array(values)) == 0)).all()


def test_answers_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="answers to value that are not numbers"):
        AmountSums("value").add(np.array([np.nan]), np.array([1.0]), np.array([0]))
