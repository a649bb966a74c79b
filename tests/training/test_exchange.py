from __future__ import annotations

from threading import Lock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from purchasepath.config import Model, Training
from purchasepath.models.build import PurchasePathModel, build_model
from purchasepath.models.encoders import ENCODERS
from purchasepath.training.exchange import Exchange, count_places, items_of
from purchasepath.training.loop import Trainer
from purchasepath.training.optimizer import FlatModel
from purchasepath.training.ranks import SoloRanks
from tests.training.feeds import NUM_FEATURES, Example, MemoryFeed, make_rows
from tests.training.together import ThreadRanks, together

NUM_ITEMS = 40
MAKING = Lock()
"""Threads share torch's generator; a model is made from the seed by one at a time."""


def make_model(encoder: str = "transformer", tasks: tuple[str, ...] = ("item", "purchase")) -> PurchasePathModel:
    with MAKING:
        torch.manual_seed(1)
        return build_model(
            Model(encoder=encoder, width=8, heads=2, layers=1, dropout=0.0, tasks=tasks),
            num_items=NUM_ITEMS, num_types=3, num_features=NUM_FEATURES, max_length=8,
        )


def make_examples(count: int, seed: int = 0) -> list[Example]:
    generator = np.random.default_rng(seed)
    return [
        Example(generator.integers(3, NUM_ITEMS, size=generator.integers(2, 8)).tolist(), bought=1.0)
        for _ in range(count)
    ]


item_lists = st.lists(st.integers(3, NUM_ITEMS - 1), min_size=1, max_size=4)


@settings(max_examples=15, deadline=None)
@given(
    shares=st.lists(st.lists(item_lists, max_size=3), min_size=2, max_size=4),
    drawn=st.lists(st.integers(3, NUM_ITEMS - 1), unique=True, max_size=NUM_ITEMS),
    seed=st.integers(0, 99),
)
def test_every_rank_has_the_sum_of_all_gradients(shares: list[list[list[int]]], drawn: list[int], seed: int) -> None:
    negative_K = torch.tensor(drawn, dtype=torch.int64)
    batches = [make_rows([Example(items) for items in share]) for share in shares]
    following = make_rows([Example([3, 4])])

    def exchange(ranks: ThreadRanks) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        model, rows = make_model(), batches[ranks.rank]
        flat = FlatModel(model, counts=len(model.tasks))
        exchange = Exchange(model, flat, ranks, by_rows=True)
        places_Q = exchange.totals(rows)
        flat.gradients_W.copy_(whole_numbers(seed + ranks.rank, flat.gradients_W.numel()))
        touched = torch.cat((items_of(rows), negative_K)).unique()
        untouched = [item for item in range(NUM_ITEMS) if item not in touched]
        for table in model.item_weights():
            table.grad[untouched] = 0
        before = flat.gradients_W.clone()
        exchange.sum_(negative_K, following)
        return before, flat.gradients_W, places_Q, exchange.totals(following)

    before, after, places_Q, following_Q = zip(*together(len(shares), exchange), strict=True)
    expected = torch.stack(before).sum(dim=0)
    assert all(torch.equal(found, expected) for found in after)
    told = torch.stack([count_places(batch, make_model()) for batch in batches]).sum(dim=0).float()
    assert all(torch.equal(found, told) for found in places_Q)
    assert all(found.tolist() == [1.0 * len(shares), 0.0] for found in following_Q)


def whole_numbers(seed: int, count: int) -> torch.Tensor:
    """Sums of these are exact in any order."""
    return torch.randint(-50, 50, (count,), generator=torch.Generator().manual_seed(seed)).float()


@pytest.mark.parametrize("tasks", [("item", "purchase"), ("session",)])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_only_items_of_the_step_have_a_gradient(encoder: str, tasks: tuple[str, ...]) -> None:
    model = make_model(encoder, tasks)
    model.next_item.requires_grad_("item" in tasks)
    rows = make_rows(make_examples(3))
    trainer = Trainer(model, MemoryFeed([], [], batch_size=4), SoloRanks(), Training(negatives=4, batch_size=4))
    negative_K = trainer._negatives()
    trainer.update(rows)
    touched = items_of(rows) if negative_K is None else torch.cat((items_of(rows), negative_K))
    for table in model.item_weights():
        changed = [] if table.grad is None else table.grad.view(NUM_ITEMS, -1).any(dim=1).nonzero().flatten().tolist()
        assert set(changed) <= set(touched.tolist())
        assert table.grad is None or 0 < len(changed) < NUM_ITEMS


def train(ranks: ThreadRanks | SoloRanks, negatives: int, *, by_rows: bool = True) -> torch.Tensor:
    config = Training(negatives=negatives, batch_size=4, epochs=2, patience=2, warmup_steps=0, learning_rate=0.01)
    feed = MemoryFeed(make_examples(14), make_examples(6, seed=1), batch_size=4, rank=ranks.rank, size=ranks.size)
    trainer = Trainer(make_model(), feed, ranks, config)
    trainer.exchange.by_rows &= by_rows
    trainer.fit()
    return trainer.flat.weights_W


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_that_exchange_rows_learn_what_one_rank_learns(size: int) -> None:
    alone = train(SoloRanks(), negatives=6)
    rows = together(size, lambda ranks: train(ranks, negatives=6))
    dense = together(size, lambda ranks: train(ranks, negatives=6, by_rows=False))
    assert all(torch.equal(weights, rows[0]) for weights in (*rows, *dense))
    torch.testing.assert_close(rows[0], alone, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("negatives", "fewer"), [(6, True), (0, False)])
def test_rows_are_sent_where_a_step_touches_few(negatives: int, fewer: bool) -> None:
    def sent(by_rows: bool) -> int:
        def task(ranks: ThreadRanks) -> int:
            train(ranks, negatives, by_rows=by_rows)
            return ranks.sent_bytes

        return sum(together(2, task))

    assert (sent(by_rows=True) < sent(by_rows=False)) == fewer


def test_alone_nothing_is_packed() -> None:
    trainer = Trainer(make_model(), MemoryFeed([], [], batch_size=4), SoloRanks(), Training(negatives=4))
    assert not trainer.exchange.by_rows
