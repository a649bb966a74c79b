"""The published protocols on histories small enough to split and rank by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.literature.feed import MemoryFeed, make_rows
from benchmarks.literature.ranking import answer
from benchmarks.literature.sets import Example, PublishedSet, Question, last_of, leave_one_out, sessions_split
from benchmarks.published import validate_as_asked
from purchasepath.config import Model
from purchasepath.datasets.batch import batch_from_rows
from purchasepath.models.build import build_model
from purchasepath.training.device import Device
from purchasepath.training.ranks import SoloRanks


def lists(examples: object) -> list[tuple[list[int], list[int]]]:
    return [(e.items.tolist(), e.targets.tolist()) for e in examples]


def test_leave_one_out_holds_the_last_two_items_back_and_cuts_from_the_end() -> None:
    found = leave_one_out([np.arange(3, 10), np.array([5, 4])], max_length=3)
    assert lists(found.train) == [([4, 5, 6], [5, 6, 7]), ([3], [4]), ([5], [4])]
    assert lists(found.valid) == [([5, 6, 7], [0, 0, 8])]
    assert [(q.history.tolist(), q.target) for q in found.asked] == [([3, 4, 5, 6, 7], 8)]
    assert [(q.history.tolist(), q.target) for q in found.test] == [([3, 4, 5, 6, 7, 8], 9)]
    assert found.num_items == 10


def test_the_last_sessions_choose_the_epoch() -> None:
    sessions = [np.array([3 + n, 4 + n]) for n in range(40)]
    found = sessions_split(sessions, [], max_length=5)
    assert lists(found.train) == [([3 + n], [4 + n]) for n in range(38)]
    assert lists(found.valid) == [([3 + n], [4 + n]) for n in (38, 39)]


def test_every_training_example_comes_once_an_epoch_in_an_order_of_its_own() -> None:
    examples = [Example(np.array([3 + n]), np.array([4 + n])) for n in range(7)]
    feed = MemoryFeed(examples, [], batch_size=3, seed=1)
    orders = []
    for epoch in (0, 1):
        with feed.batches("train", epoch) as batches:
            orders.append([int(item) for rows in batches for item in rows.event("item")])
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(3, 10))
    assert orders[0] != orders[1]


@pytest.mark.parametrize("filter_seen", [True, False])
def test_metrics_are_those_of_a_ranking_written_out(filter_seen: bool) -> None:
    torch.manual_seed(0)
    model = build_model(Model(width=8,
                              tasks=("item", "purchase")),
                        num_items=40, num_types=2, num_features=0, max_length=4).eval()
    torch.nn.init.normal_(model.encoder.embedding.item.weight)
    dice = np.random.default_rng(0)
    questions = [Question(dice.integers(3, 40, size=n), int(dice.integers(3, 40))) for n in (1, 6, 4, 9, 2, 7)]
    questions.append(Question(np.array([5, 6]), 5))  # a target seen before cannot be shown
    ranks = []
    for question in questions:
        hidden_BLD = model.encode(batch_from_rows(make_rows([last_of(question, 4)])))
        scores = model.item_scores(hidden_BLD[0, -1:])[0].tolist()
        shown = [i for i in range(3, 40) if not filter_seen or i not in question.history]
        beaten = [i for i in shown if scores[i] >= scores[question.target]]
        ranks.append(len(beaten) if question.target in shown else math.inf)
    found = answer(model, PublishedSet("", 40, filter_seen, [], [], questions))
    hits = [rank for rank in ranks if rank <= 10]
    assert found["recall@10"] == pytest.approx(len(hits) / 7)
    assert found["ndcg@10"] == pytest.approx(sum(1 / math.log2(1 + rank) for rank in hits) / 7)


def test_an_epoch_is_judged_as_the_test_asks() -> None:
    torch.manual_seed(0)
    dice = np.random.default_rng(0)
    published = leave_one_out([3 + dice.permutation(20)[:9] for _ in range(12)], max_length=4)
    model = build_model(Model(width=8,
                              tasks=("item", "purchase")), num_items=23, num_types=2, num_features=0, max_length=4)
    torch.nn.init.normal_(model.encoder.embedding.item.weight)
    feed = MemoryFeed(published.train, published.valid, batch_size=4, seed=1)
    asked = replace(published, test=published.asked)
    found = validate_as_asked(asked, model, feed, SoloRanks(), Device.choose("fp32", 0))
    with_seen = validate_as_asked(replace(asked, filter_seen=False), model, feed, SoloRanks(), Device.choose("fp32", 0))
    assert found["ndcg_10"] == answer(model, asked)["ndcg@10"] > with_seen["ndcg_10"]
    assert found["item_loss"] == with_seen["item_loss"]
