"""Second-order Markov and item neighbours: ranks against a full ranking in plain Python, likeness by hand."""

from __future__ import annotations

from collections import Counter
from math import sqrt
from random import Random
from typing import Any

import pytest

from purchasepath.models.baselines import (
    add_markov_rank,
    item_targets,
    markov_answers,
    markov_states,
    transitions,
)
from purchasepath.models.neighbours import (
    add_pair_rank,
    item_neighbours,
    pair_answers,
    pair_states,
    pair_transitions,
)
from tests.models.test_baselines import popular_frame

ITEMS = range(3, 9)


def triples(spark: Any, rows: list[tuple[int, int, int]]) -> Any:
    return spark.createDataFrame(rows, "before int, state int, item int")


def test_targets_know_the_last_two_items_through_events_without_one(spark: Any) -> None:
    examples = spark.createDataFrame(
        [("u", [1, 3, 1, 4, 4, 5], [3, 4, 4, 0, 5, 2])], "example_id string, item array<int>, target array<int>"
    )
    found = [(r["before"], r["state"], r["item"]) for r in item_targets(examples).collect()]
    assert found == [(1, 1, 3), (1, 3, 4), (1, 3, 4), (4, 4, 5), (4, 5, 2)]


@pytest.mark.parametrize("max_k", [2, 6])
def test_pair_ranks_and_answers_equal_a_full_ranking(spark: Any, max_k: int) -> None:
    dice = Random(max_k)
    train = [(dice.choice([1, 3, 4]), dice.choice([3, 4, 5]), dice.randint(3, 8)) for _ in range(60)]
    by_item = {item: dice.randint(0, 2) for item in ITEMS}
    after_both, after_one = Counter(t for t in train if t[0] != 1), Counter((s, i) for _, s, i in train)

    def score(before: int, state: int, item: int) -> tuple[int, ...]:
        return after_both[before, state, item], after_one[state, item], by_item[item]

    asked = [(before, state, item) for before in (1, 3, 4, 6) for state in (3, 4, 5, 7) for item in ITEMS]
    popular, targets, learned = popular_frame(spark, by_item), triples(spark, asked), triples(spark, train)
    moves = transitions(learned, popular).localCheckpoint()
    pairs = pair_transitions(learned, moves).localCheckpoint()
    states, first_states = pair_states(pairs, max_k), markov_states(moves, max_k)
    ranked = add_pair_rank(add_markov_rank(targets, moves, first_states, popular, max_k), pairs, states, max_k)
    found = {(r["before"], r["state"], r["item"]): r["rank"] for r in ranked.collect()}
    assert found == {
        (b, s, i): min(max_k + 1, sum(score(b, s, other) >= score(b, s, i) for other in ITEMS)) for b, s, i in asked
    }
    answers = pair_answers(targets, states, markov_answers(targets, first_states, popular, max_k), max_k)
    shown = {(r["before"], r["state"]): r["answer"] for r in answers.collect()}
    assert shown == {
        (b, s): sorted(ITEMS, key=lambda i, b=b, s=s: (*(-n for n in score(b, s, i)), i))[:max_k]
        for b, s, _ in asked
    }


def test_neighbours_are_alike_by_the_cosine_of_their_examples(spark: Any) -> None:
    examples = spark.createDataFrame(
        [("u", [3, 4, 3, 1]), ("v", [3, 4, 5]), ("w", [3]), ("x", [5, 2])], "example_id string, item array<int>"
    )
    popular = popular_frame(spark, {3: 3, 4: 2, 5: 2})
    found = {(r["state"], r["item"]): r["seen"] for r in item_neighbours(examples, popular).collect()}
    expected = {(3, 4): 2 / sqrt(3 * 2), (3, 5): 1 / sqrt(3 * 2), (4, 5): 1 / sqrt(2 * 2)}
    assert found == pytest.approx({**expected, **{(b, a): cosine for (a, b), cosine in expected.items()}})
