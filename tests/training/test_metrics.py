from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from purchasepath.training.metrics import means, metric_names, ranking_sums, target_rank

SCORES = st.lists(st.integers(-3, 3), min_size=2, max_size=12)


@given(st.lists(SCORES, min_size=1, max_size=1), st.data())
@settings(max_examples=100, deadline=None)
def test_rank_counts_others_that_score_at_least_as_high(scores: list[list[int]], data: st.DataObject) -> None:
    target = data.draw(st.integers(0, len(scores[0]) - 1))
    expected = 1 + sum(s >= scores[0][target] for i, s in enumerate(scores[0]) if i != target)
    assert target_rank(torch.tensor(scores).float(), torch.tensor([target])).tolist() == [expected]


def test_a_model_that_scores_everything_alike_ranks_every_target_last() -> None:
    assert target_rank(torch.zeros(2, 50), torch.tensor([3, 49])).tolist() == [50, 50]


def test_items_at_minus_infinity_do_not_count_and_broken_scores_count_against_us() -> None:
    nan, inf = float("nan"), float("inf")
    assert target_rank(torch.tensor([[-inf, -inf, 1.0, 2.0]]), torch.tensor([2])).tolist() == [2]
    assert target_rank(torch.full((1, 4), nan), torch.tensor([2])).tolist() == [4]
    assert target_rank(torch.tensor([[0.0, nan, 1.0]]), torch.tensor([2])).tolist() == [2]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.lists(st.integers(1, 25), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_means_agree_with_their_definitions(ranks: list[int], ks: list[int]) -> None:
    found = means(ranking_sums(torch.tensor(ranks), ks), len(ranks), ks)
    for k in ks:
        hits = [r for r in ranks if r <= k]
        assert found[f"recall@{k}"] == pytest.approx(len(hits) / len(ranks))
        assert found[f"ndcg@{k}"] == pytest.approx(sum(1 / math.log2(1 + r) for r in hits) / len(ranks))
        assert found[f"mrr@{k}"] == pytest.approx(sum(1 / r for r in hits) / len(ranks))


def test_sums_of_parts_add_up_to_the_sum_of_all() -> None:
    ranks = torch.tensor([1, 4, 9, 12, 2])
    torch.testing.assert_close(
        ranking_sums(ranks[:2], (5, 10)) + ranking_sums(ranks[2:], (5, 10)), ranking_sums(ranks, (5, 10))
    )


def test_without_targets_a_mean_is_not_a_number() -> None:
    assert all(math.isnan(v) for v in means(ranking_sums(torch.zeros(0), (10,)), 0, (10,)).values())


def test_names_are_in_the_order_of_the_sums() -> None:
    assert metric_names((5, 10)) == ("recall@5", "ndcg@5", "mrr@5", "recall@10", "ndcg@10", "mrr@10")
