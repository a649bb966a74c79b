"""Baselines: counts and ranks worked out by hand, and ranks against a full ranking in plain Python."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from purchasepath.models.baselines import (
    add_markov_rank,
    add_popular_rank,
    labelled_points,
    linear_answers,
    logistic_answers,
    markov_answers,
    markov_states,
    popularity,
    transitions,
)
from purchasepath.tables.catalog import SESSIONS

END = datetime(2024, 1, 22, tzinfo=UTC)
MINUTE = 60_000_000


def pairs(spark: Any, rows: list[tuple[int, int]]) -> Any:
    return spark.createDataFrame(rows, "state int, item int")


def popular_frame(spark: Any, counts: dict[int, int]) -> Any:
    rows = [(i, n, sum(1 for m in counts.values() if m >= n)) for i, n in counts.items()]
    return spark.createDataFrame(rows, "item int, popular bigint, popular_rank bigint")


def session(user: str, started_at: datetime, items: list[str | None], *, lag_min: int = 0,
            **more: Any) -> dict[str, Any]:
    """A session with one event on each item, a minute apart."""
    size = len(items)
    return {"user_id": user, "started_at": started_at, "ended_at": started_at + timedelta(minutes=size - 1),
            "event_ids": [f"{user}{started_at}{n}" for n in range(size)], "event_types": ["view"] * size,
            "item_ids": items, "prices": [1.0] * size, "offsets_us": [n * MINUTE for n in range(size)],
            "arrival_lags_us": [lag_min * MINUTE] * size, **more}


def test_popularity_counts_turns_to_an_item_in_the_seven_days(spark: Any) -> None:
    sessions = SESSIONS.frame(spark, [
        session("u", END - timedelta(days=3), ["a", "a", None, "a", "b"]),  # a, a again after nothing, b
        session("v", END - timedelta(days=7), ["b"]),  # the first moment that counts
        session("w", END - timedelta(days=7, minutes=1), ["c", "b"]),  # c is too old, b is not
        session("x", END - timedelta(minutes=1), ["a", "c"]),  # c happens at the end, which no longer counts
        session("y", END - timedelta(hours=1), ["c"], lag_min=61),  # not known by the end
        session("y", END - timedelta(hours=2), ["z"]),  # not in the vocabulary
        session("bot", END - timedelta(hours=1), ["d", "c", "d"], is_bot=True),
    ])
    vocabulary = spark.createDataFrame([("a", 3), ("b", 4), ("c", 5), ("d", 6)], "item_id string, id int")
    found = {r["item"]: (r["popular"], r["popular_rank"]) for r in popularity(sessions, vocabulary, END).collect()}
    assert found == {3: (3, 2), 4: (3, 2), 5: (0, 4), 6: (0, 4)}


TRAIN = [(3, 4), (3, 4), (3, 5), (4, 3), (3, 2)]
POPULAR = {3: 9, 4: 5, 5: 5, 6: 1, 7: 0}


def test_markov_ranks_worked_out_by_hand(spark: Any) -> None:
    popular = popular_frame(spark, POPULAR)
    moves = transitions(pairs(spark, TRAIN), popular)
    # after 3: 4 (twice), 5 (once), then by popularity 3, 6, 7. After 4: 3, then {4, 5} tied, 6, 7. After 9: popularity
    expected = {(3, 4): 1, (3, 5): 2, (3, 3): 3, (3, 6): 4, (3, 7): 5, (4, 3): 1, (4, 5): 3, (4, 6): 4, (9, 3): 1,
                (9, 5): 3, (3, 2): 6}
    ranked = add_markov_rank(pairs(spark, list(expected)), moves, markov_states(moves, 5), popular, 5)
    assert {(r["state"], r["item"]): r["rank"] for r in ranked.collect()} == expected


def test_popular_ranks_worked_out_by_hand(spark: Any) -> None:
    targets = pairs(spark, [(0, 3), (0, 3), (0, 4), (0, 5), (0, 6), (0, 7), (0, 2)])
    found = add_popular_rank(targets, popular_frame(spark, POPULAR), 4).collect()
    # 7 would have rank 5 and the unknown item has none: both are beyond 4
    assert sorted((r["item"], r["rank"]) for r in found) == [(2, 5), (3, 1), (3, 1), (4, 3), (5, 3), (6, 4), (7, 5)]


def test_markov_answers_fill_up_with_popular_items(spark: Any) -> None:
    popular = popular_frame(spark, POPULAR)
    moves = transitions(pairs(spark, TRAIN), popular)
    found = markov_answers(pairs(spark, [(3, 3), (3, 4), (9, 3)]), markov_states(moves, 4), popular, 4)
    assert {r["state"]: r["answer"] for r in found.collect()} == {3: [4, 5, 3, 6], 9: [3, 4, 5, 6]}


@pytest.mark.parametrize("max_k", [2, 6])
def test_markov_ranks_equal_a_full_ranking(spark: Any, max_k: int) -> None:
    # ten states, from never left to left for every item; few different counts, so ties are everywhere
    dice = Random(max_k)
    train = [(state, dice.randint(3, 9)) for state in range(3, 13) for _ in range((state - 3) * 2)]
    by_item = {item: dice.randint(0, 3) for item in range(3, 10)}
    seen = Counter(train)

    def score(state: int, item: int) -> tuple[int, int]:
        return seen[state, item], by_item[item]

    asked = [(state, item) for state in range(3, 13) for item in by_item]
    expected = {(s, i): min(max_k + 1, sum(score(s, other) >= score(s, i) for other in by_item)) for s, i in asked}
    popular = popular_frame(spark, by_item)
    moves = transitions(pairs(spark, train), popular)
    found = add_markov_rank(pairs(spark, asked), moves, markov_states(moves, max_k), popular, max_k)
    assert {(r["state"], r["item"]): r["rank"] for r in found.collect()} == expected


def test_each_point_gets_its_own_features_and_label(spark: Any) -> None:
    schema = "features array<float>, idle array<float>, labels array<float>"
    examples = spark.createDataFrame([
        ([1.0, 2.0, 3.0, 4.0], [0.5, 0.25], [0.0, 7.0, 1.0, 8.0]), ([5.0, 6.0], [0.75], [float("nan"), 9.0]),
        ([], [], [])], schema)
    names = ("purchase", "value")
    found = [(r["features"], r["label"]) for r in labelled_points(examples, "purchase", names, 2).collect()]
    assert found == [([0.5, 1.0, 2.0], 0.0), ([0.25, 3.0, 4.0], 1.0)]  # not where it is not asked
    found = [(r["features"], r["label"]) for r in labelled_points(examples, "value", names, 2).collect()]
    assert found == [([0.5, 1.0, 2.0], 7.0), ([0.25, 3.0, 4.0], 8.0), ([0.75, 5.0, 6.0], 9.0)]


POINTS = "features array<float>, label double"


def test_logistic_regression_finds_the_feature_that_matters(spark: Any) -> None:
    rows = [([0.0, x, n % 3 - 1.0], float(n % 10 < (8 if x > 0 else 2))) for n in range(60) for x in (-1.0, 1.0)]
    asked = spark.createDataFrame([([0.0, -1.0, 0.0], 0.0), ([0.0, 1.0, 0.0], 1.0)], POINTS)
    found = {r["label"]: r["answer"] for r in logistic_answers(spark.createDataFrame(rows, POINTS), asked).collect()}
    assert found == {0: pytest.approx(0.2, abs=0.01), 1: pytest.approx(0.8, abs=0.01)}


def test_a_logistic_regression_on_one_class_answers_with_that_class(spark: Any) -> None:
    points = spark.createDataFrame([([0.0, 1.0], 0.0), ([1.0, 0.0], 0.0)], POINTS)
    assert [r["answer"] for r in logistic_answers(points, points).collect()] == [0.0, 0.0]


def test_a_linear_regression_finds_the_line_and_nothing_below_zero(spark: Any) -> None:
    points = spark.createDataFrame([([0.0, x / 10, 0.0], 3.0 + x / 5) for x in range(-10, 60)], POINTS)
    asked = spark.createDataFrame([([0.0, 2.0, 0.0], 7.0), ([0.0, -9.0, 0.0], 0.0)], POINTS)
    found = [r["answer"] for r in linear_answers(points, asked).collect()]
    assert found == [pytest.approx(7.0, abs=0.1), 0.0]
