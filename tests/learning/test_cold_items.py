"""Items that nobody has touched yet are ranked where what is known of them says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from purchasepath.config import Model, Training
from purchasepath.datasets.sides import Sides
from purchasepath.models.build import build_model
from purchasepath.models.items import fuse_items
from purchasepath.training.loop import Trainer
from purchasepath.training.metrics import target_rank
from purchasepath.training.ranks import SoloRanks
from purchasepath.training.start import begin
from tests.training.feeds import NUM_FEATURES, Example, MemoryFeed, make_batch

CATEGORIES, KNOWN_EACH, COLD_EACH, LENGTH = 5, 4, 1, 8
NUM_KNOWN = 3 + CATEGORIES * KNOWN_EACH
NUM_ITEMS = NUM_KNOWN + CATEGORIES * COLD_EACH
CATEGORY_I = np.array([0, 0, 0, *(1 + np.arange(NUM_ITEMS - 3) % CATEGORIES)])


def walks(count: int, seed: int) -> list[Example]:
    """Any item with a history of the category after the last item's, round and round."""
    generator = np.random.default_rng(seed)
    examples = []
    for _ in range(count):
        first = int(generator.integers(CATEGORIES))
        category = 1 + (first + np.arange(LENGTH)) % CATEGORIES
        shelf = [np.flatnonzero(CATEGORY_I[:NUM_KNOWN] == c) for c in category]
        examples.append(Example([int(generator.choice(items)) for items in shelf]))
    return examples


def cold_recall(*, told: bool, negatives: int = 0) -> float:
    """Share of the places where the next category's item without a history is among the shelf's five best."""
    torch.manual_seed(0)
    model = build_model(Model(width=16, heads=2, layers=1, dropout=0.0, tasks=("item",)), num_items=NUM_ITEMS,
                        num_types=2, num_features=NUM_FEATURES, max_length=LENGTH, num_known=NUM_KNOWN)
    config = Training(epochs=4, patience=4, learning_rate=0.01, warmup_steps=5, negatives=negatives, item_dropout=0.2)
    feed = MemoryFeed(walks(300, 1), walks(30, 2), batch_size=32)
    sides = Sides({"category": CATEGORY_I}, np.zeros((NUM_ITEMS, 0), np.float32))
    begin(model, None, config, feed, SoloRanks(), sides if told else None)
    Trainer(model, feed, SoloRanks(), config).fit()
    fuse_items(model)
    model.eval()
    batch = make_batch(walks(50, 3))
    following_BL = torch.from_numpy(CATEGORY_I)[batch.item_BL] % CATEGORIES + 1
    cold_N = NUM_KNOWN + (following_BL.flatten() - 1 - (NUM_KNOWN - 3)) % CATEGORIES
    assert (torch.from_numpy(CATEGORY_I)[cold_N] == following_BL.flatten()).all()
    with torch.inference_mode():
        scores_NI = model.item_scores(model.encode(batch).flatten(0, 1))
    return (target_rank(scores_NI, cold_N) <= KNOWN_EACH + COLD_EACH).double().mean().item()


@pytest.mark.parametrize("negatives", [0, 8], ids=["full softmax", "sampled"])
def test_an_item_without_a_history_is_ranked_by_its_category(negatives: int) -> None:
    assert cold_recall(told=True, negatives=negatives) > 0.9


def test_without_side_features_it_is_ranked_by_chance_at_best() -> None:
    assert cold_recall(told=False) < 0.4  # 5 of 25 by chance
