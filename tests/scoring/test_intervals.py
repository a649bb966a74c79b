"""Intervals: weights and percentiles against plain loops, the same on any partitioning, and covering what is true."""

from __future__ import annotations

from collections.abc import Callable
from math import erf, exp, factorial
from random import Random

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from purchasepath.scoring.counting import PointCounts, RankCounts, binary_counts, counted_batch, item_counts
from purchasepath.scoring.intervals import (
    BUCKETS,
    REPLICATES,
    bucket_of,
    interval,
    poisson_weights,
    resample,
)
from purchasepath.scoring.measures import BinaryCounts, binary_metrics, ranking_metrics
from tests.tiny_bundle import tiny_manifest

KS = (1, 3)


def splitmix(number: int) -> int:
    z = (number + 1) * 0x9E3779B97F4A7C15 % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def weight(replicate: int, bucket: int) -> int:
    """How many Poisson probabilities the hash of the two exceeds."""
    share, below, k = (splitmix(replicate * BUCKETS + bucket) >> 11) / 2**53, 0.0, 0
    while share >= (below := below + exp(-1) / factorial(k)):
        k += 1
    return k


def test_weights_are_poisson_numbers_of_a_hash() -> None:
    found = poisson_weights(40, BUCKETS)
    assert found[:7, :50].tolist() == [[weight(r, b) for b in range(50)] for r in range(7)]
    assert found.mean() == pytest.approx(1, abs=0.02)
    assert found.var() == pytest.approx(1, abs=0.04)


def recall(counts_GK: np.ndarray) -> np.ndarray:
    return ranking_metrics(resample(counts_GK), KS)["recall", 1]


def test_an_interval_is_the_percentiles_of_resampled_visitors() -> None:
    dice = Random(3)
    rank = {bucket: [dice.choice((1, 2, 4)) for _ in range(dice.randint(1, 4))] for bucket in range(40)}
    counts_GK = np.zeros((BUCKETS, 5))
    for bucket, ranks in rank.items():
        for one in ranks:
            counts_GK[bucket, one] += 1
    drawn = []
    for replicate in range(REPLICATES):
        weights = {bucket: weight(replicate, bucket) for bucket in rank}
        hits = sum(weights[bucket] * ranks.count(1) for bucket, ranks in rank.items())
        drawn.append(hits / sum(weights[bucket] * len(ranks) for bucket, ranks in rank.items()))
    assert interval(recall(counts_GK)) == pytest.approx(np.percentile(drawn, [2.5, 97.5]).tolist())


def test_a_visitor_s_weights_are_the_same_for_every_model_so_equal_answers_differ_by_nothing() -> None:
    counts_GK = np.random.default_rng(1).integers(0, 5, (BUCKETS, 5))
    counts_GK[:, 0] = 0
    low, high = interval(recall(counts_GK))
    assert low is not None
    assert high is not None
    assert low < recall(counts_GK)[0] < high
    same = recall(counts_GK) - recall(counts_GK.copy())
    assert not same.any()
    assert interval(same) == (None, None)


@pytest.mark.parametrize(("hits", "told"), [(0, False), (3, False), (60, True), (297, False), (300, False)])
def test_an_interval_that_hangs_on_few_visitors_is_not_told(hits: int, told: bool) -> None:
    counts_GK = np.zeros((BUCKETS, 5))
    counts_GK[:hits, 1], counts_GK[hits:300, 4] = 1, 1
    assert (interval(recall(counts_GK)) != (None, None)) == told


def test_visitors_that_are_not_told_apart_give_no_interval(spark: SparkSession) -> None:
    frame = spark.createDataFrame([(None,), (-1,), (513,)], "visitor bigint")
    assert [r[0] for r in frame.select(bucket_of(frame.visitor)).collect()] == [0, 511, 1]
    counts_GK = np.zeros((BUCKETS, 5))
    counts_GK[0, 1:] = 100
    assert interval(recall(counts_GK)) == (None, None)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 4), min_size=90, max_size=90), st.randoms())
def test_counts_and_intervals_do_not_depend_on_the_partitions(seed: int, task_N: list[int], order: Random) -> None:
    generator = np.random.default_rng(seed)
    rows = list(zip(generator.integers(0, BUCKETS, 90), generator.random(90), generator.integers(0, 2, 90),
                    torch.from_numpy(generator.random((90, 8))), generator.integers(2, 8, 90), task_N, strict=True))
    order.shuffle(rows)

    def counted(tasks: list[list[tuple[object, ...]]]) -> dict[tuple[str, int, int, int, int], int]:
        sums: dict[tuple[str, int, int, int, int], int] = {}
        for task in filter(None, tasks):
            bucket_N, probability_N, answer_N, score_NI, target_N, _ = zip(*task, strict=True)
            points, ranks = PointCounts("purchase"), RankCounts(tiny_manifest(8), KS)
            points.add(np.array(probability_N), np.array(answer_N), np.array(bucket_N))
            ranks.add(torch.stack(score_NI), torch.tensor(np.array(target_N)), np.array(bucket_N))  # type: ignore[arg-type]
            batch: pa.RecordBatch = counted_batch([*points.rows(), *ranks.rows()])
            for r in batch.to_pylist():
                key = (r["kind"], r["k"], r["bucket"], r["key"], r["label"])
                sums[key] = r["n"] if r["kind"] == "shown" else sums.get(key, 0) + r["n"]
        return sums

    one, many = counted([rows]), counted([[row for row in rows if row[-1] == task] for task in range(5)])
    assert one == many
    for of in (lambda c: ranking_metrics(resample(item_counts(c, KS)[0]), KS)["ndcg", 3],
               lambda c: binary_metrics(binary_counts(c, "purchase").samples, 0.5)["pr_auc"]):
        assert interval(of(one)) == interval(of(dict(reversed(many.items()))))


def coverage(truth: float, draw: Callable[[np.random.Generator], np.ndarray], times: int = 300) -> float:
    """How often the interval of `draw`'s samples holds the truth."""
    ends = [interval(draw(np.random.default_rng(seed))) for seed in range(times)]
    return sum(low is not None and high is not None and low <= truth <= high for low, high in ends) / times


def test_intervals_of_a_share_cover_the_truth() -> None:
    def draw(generator: np.random.Generator) -> np.ndarray:
        """250 visitors of 1 to 6 targets and a probability of a hit of their own, a third on average."""
        targets_N = generator.integers(1, 7, 250)
        hits_N = generator.binomial(targets_N, generator.beta(1, 2, 250))
        counts_GK, bucket_N = np.zeros((BUCKETS, 5)), generator.integers(0, BUCKETS, 250)
        np.add.at(counts_GK, (bucket_N, 1), hits_N)
        np.add.at(counts_GK, (bucket_N, 4), targets_N - hits_N)
        return recall(counts_GK)

    assert 0.90 <= coverage(1 / 3, draw) <= 0.99


def points_of(generator: np.random.Generator, noise: tuple[float, ...]) -> list[BinaryCounts]:
    """300 visitors of 1 to 3 points, a fifth of whom say yes; what models see lies 1 apart, and each adds its noise."""
    visitor_N = np.repeat(np.arange(300), generator.integers(1, 4, 300))
    bucket_N, yes_N = generator.integers(0, BUCKETS, 300)[visitor_N], (generator.random(300) < 0.2)[visitor_N]
    seen_N = yes_N + generator.normal(size=len(visitor_N)) - 1.5
    found = []
    for size in noise:
        counts = PointCounts("purchase")
        counts.add(1 / (1 + np.exp(-seen_N - size * generator.normal(size=len(seen_N)))), yes_N, bucket_N)
        found.append(binary_counts(counts.counts, "purchase"))
    return found


def roc_auc(counts: BinaryCounts) -> np.ndarray:
    """In all samples, moved to the value of single probabilities, as METRICS has it."""
    samples_R = binary_metrics(counts.samples, 0.5)["roc_auc"]
    return samples_R - samples_R[0] + binary_metrics(counts.everybody, 0.5)["roc_auc"]


def normal_auc(noise: float) -> float:
    """P(N(1, 1 + noise^2) > N(0, 1 + noise^2))"""
    return (1 + erf(1 / (2 * (1 + noise**2) ** 0.5))) / 2


@pytest.mark.slow
def test_intervals_of_an_area_under_the_curve_cover_the_truth() -> None:
    assert 0.90 <= coverage(normal_auc(0.0), lambda g: roc_auc(points_of(g, (0.0,))[0])) <= 0.99


@pytest.mark.slow
def test_intervals_of_the_difference_of_two_models_cover_the_truth() -> None:
    def draw(generator: np.random.Generator) -> np.ndarray:
        ours, theirs = points_of(generator, (0.0, 0.5))
        return roc_auc(ours) - roc_auc(theirs)

    assert 0.90 <= coverage(normal_auc(0.0) - normal_auc(0.5), draw) <= 0.99


def test_the_interval_of_a_difference_is_narrower_than_that_of_either_as_visitors_are_the_same() -> None:
    ours, theirs = points_of(np.random.default_rng(5), (0.0, 0.5))
    (low, high), (alone_low, alone_high) = interval(roc_auc(ours) - roc_auc(theirs)), interval(roc_auc(ours))
    assert None not in (low, high, alone_low, alone_high)
    assert high - low < 0.8 * (alone_high - alone_low)  # type: ignore[operator]


def test_cells_and_losses_give_the_loss_of_everybody_to_the_digit() -> None:
    counts = points_of(np.random.default_rng(2), (0.3,))[0]
    by_cell, single = (float(np.atleast_1d(binary_metrics(points, 0.5)["log_loss"])[0])
                       for points in (counts.samples, counts.everybody))
    assert by_cell == pytest.approx(single, rel=1e-12)
