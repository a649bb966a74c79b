"""The model learns what can be learned, and nothing where there is nothing to learn."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
import torch

from purchasepath.config import Model, Training
from purchasepath.models.build import build_model
from purchasepath.training.init_heads import start_at_regression
from purchasepath.training.loop import Trainer
from purchasepath.training.ranks import SoloRanks
from tests.training.feeds import NUM_FEATURES, Example, MemoryFeed

NUM_ITEMS = 24
LENGTH = 12


def chains(count: int, seed: int, *, noise: float) -> list[Example]:
    """Each item follows from the two before it (by a fixed table), except with probability `noise`."""
    table = np.random.default_rng(99).integers(NUM_ITEMS, size=(NUM_ITEMS, NUM_ITEMS))
    table %= np.array([NUM_ITEMS, 8] * (NUM_ITEMS // 2))  # items below 8 are popular
    generator = np.random.default_rng(seed)
    examples = []
    for _ in range(count):
        items = generator.integers(NUM_ITEMS, size=2).tolist()
        while len(items) < LENGTH:
            follow = generator.random() >= noise
            items.append(int(table[items[-2], items[-1]] if follow else generator.integers(NUM_ITEMS)))
        feature = generator.normal(size=NUM_FEATURES)
        bought = generator.random() < 1 / (1 + np.exp(-3 * feature[0]))
        examples.append(Example([i + 3 for i in items], bought=float(bought), features=feature.tolist()))
    return examples


def baseline_mrr(train: list[Example], valid: list[Example], *, order: int) -> float:
    """MRR@10 of ranking items by how often they followed the last `order` items; order 0 is popularity."""
    followers: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for example in train:
        for end in range(1, LENGTH):
            followers[tuple(example.items[max(0, end - order) : end])][example.items[end]] += 1
    total, targets = 0.0, 0
    for example in valid:
        for end in range(1, LENGTH):
            ranked = [i for i, _ in followers[tuple(example.items[max(0, end - order) : end])].most_common(10)]
            total += 1 / (1 + ranked.index(example.items[end])) if example.items[end] in ranked else 0.0
            targets += 1
    return total / targets


def fit(train: list[Example], valid: list[Example], epochs: int) -> dict[str, float]:
    torch.manual_seed(0)
    model = build_model(
        Model(width=32, heads=2, layers=2, dropout=0.0, tasks=("item", "purchase")),
        num_items=NUM_ITEMS + 3, num_types=2, num_features=NUM_FEATURES, max_length=LENGTH,
    )
    config = Training(epochs=epochs, patience=epochs, batch_size=64, learning_rate=0.005, warmup_steps=20)
    feed = MemoryFeed(train, valid, batch_size=64)
    start_at_regression(model.heads["purchase"], model.asked["purchase"], feed, SoloRanks())
    state = Trainer(model, feed, SoloRanks(), config).fit()
    return state.curves[state.best_epoch - 1]


@pytest.mark.slow
def test_a_second_order_chain_is_learned_far_above_popularity_and_a_first_order_chain() -> None:
    train, valid = chains(1000, 1, noise=0.1), chains(200, 2, noise=0.1)
    learned = fit(train, valid, epochs=8)
    popularity, first_order = (baseline_mrr(train, valid, order=order) for order in (0, 1))
    assert popularity < first_order < 0.45
    assert learned["valid_mrr_10"] > first_order + 0.15


def test_on_random_items_nothing_is_learned() -> None:
    train, valid = chains(500, 1, noise=1.0), chains(300, 2, noise=1.0)
    learned = fit(train, valid, epochs=3)
    assert learned["valid_recall_10"] == pytest.approx(10 / NUM_ITEMS, abs=0.03)


def test_a_purchase_that_follows_from_a_feature_is_learned() -> None:
    learned = fit(chains(1000, 1, noise=1.0), chains(300, 2, noise=1.0), epochs=3)
    assert learned["valid_purchase_loss"] < 0.48  # a coin costs 0.693, the true probabilities 0.40
