"""What masks see, when they are asked and while they learn; the contract of all encoders is in test_encoders.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from purchasepath.config import Model
from purchasepath.datasets.batch import Batch, inputs_from_rows
from purchasepath.models import masked
from purchasepath.models.build import PurchasePathModel, build_model
from tests.training.feeds import NUM_FEATURES, Example, make_batch, make_rows

ITEMS = [5, 9, 4, 7, 11, 6]


def make_model(*tasks: str, share: float = 0.3) -> PurchasePathModel:
    torch.manual_seed(0)
    return build_model(
        Model(encoder="bert4rec", width=16, heads=2, layers=2, dropout=0.0, tasks=tasks, mask_share=share),
        num_items=20, num_types=3, num_features=NUM_FEATURES, max_length=10,
    )


def change(batch: Batch, place: int) -> Batch:
    """The same batch with another event at `place` of the first example."""
    changes = {}
    for name, step in (("item_BL", 8), ("type_BL", 1), ("gap_BL", 1.0), ("price_BL", 1.0)):
        changes[name] = getattr(batch, name).clone()
        changes[name][0, place] += step
    return replace(batch, **changes)


def test_an_answer_is_that_of_a_pass_over_the_events_so_far() -> None:
    model = make_model("item").eval()
    whole_LD = model.encode(make_batch([Example(ITEMS)]))[0]
    for end in range(1, len(ITEMS)):
        alone_LD = model.encode(make_batch([Example(ITEMS[:end], targets=[*[0] * (end - 1), 8])]))[0]
        torch.testing.assert_close(whole_LD[end - 1], alone_LD[-1], rtol=1e-5, atol=1e-6)


def test_nothing_is_computed_where_nothing_is_asked() -> None:
    model = make_model("item").eval()
    hidden_LD = model.encode(make_batch([Example(ITEMS, targets=[0, 0, 8, 0, 0, 0], bought=1.0)]))[0]
    assert hidden_LD.any(dim=1).tolist() == [False, False, True, False, False, False]


def test_an_example_of_the_longest_kind_is_answered_at_its_end() -> None:
    model = make_model("item").eval()
    assert model.encode(make_batch([Example(range(3, 13), targets=[0] * 9 + [4])]))[0, 9].any()


def test_masks_are_guessed_from_both_sides_and_from_nothing_of_what_they_hide() -> None:
    model = make_model("item").train()
    batch = make_batch([Example(ITEMS, targets=[9, 0, 0, 11, 0, 0])])  # masks in the places of events 1 and 4
    guessed_BLD = model.encode(batch)
    for place in range(len(ITEMS)):
        same = [torch.equal(guessed_BLD[0, p], model.encode(change(batch, place))[0, p]) for p in (0, 3)]
        assert same == [place in (1, 4)] * 2, place


def test_a_later_event_on_a_masked_item_is_not_seen() -> None:
    model = make_model("item").train()
    batch = make_batch([Example([5, 9, 9, 7, 9, 6], targets=[9, 0, 0, 0, 0, 6])])
    guessed_BLD = model.encode(batch)
    for place in (2, 4):
        others = replace(batch, price_BL=change(batch, place).price_BL, type_BL=change(batch, place).type_BL)
        assert torch.equal(guessed_BLD[0, [0, 5]], model.encode(others)[0, [0, 5]])


def test_what_hangs_on_later_events_is_learned_as_it_is_asked() -> None:
    model = make_model("item", "purchase")
    batch = make_batch([Example(ITEMS, bought=1.0), Example([3, 4], bought=0.0)])
    batch = replace(batch, position_P=torch.tensor([2, 1]))
    learning_BLD, asked_BLD = model.train().encode(batch), model.eval().encode(batch)
    torch.testing.assert_close(learning_BLD[batch.row_P, batch.position_P], asked_BLD[batch.row_P, batch.position_P])
    assert not torch.allclose(learning_BLD[0, 0], asked_BLD[0, 0])  # a mask among others, that sees what follows
    later = model.train().encode(change(batch, 3))
    assert torch.equal(learning_BLD[0, 2], later[0, 2])


def test_one_target_alone_is_learned_as_it_is_asked() -> None:
    model = make_model("item")
    batch = make_batch([Example(ITEMS, targets=[0, 0, 7, 0, 0, 0])])
    assert torch.equal(model.train().encode(batch), model.eval().encode(batch))


item_lists = st.lists(st.integers(3, 19), min_size=1, max_size=10)


@settings(max_examples=25, deadline=None)
@given(lists=st.lists(item_lists, max_size=5), share=st.floats(0.05, 1.0), seed=st.integers(0, 99))
def test_of_every_example_some_targets_are_drawn(lists: list[list[int]], share: float, seed: int) -> None:
    encoder, rows = make_model("item", share=share).encoder, make_rows([Example(items) for items in lists])
    drawn, again = (encoder.draw(rows, np.random.default_rng(seed)) for _ in range(2))
    before, after = rows.event("target"), drawn.event("target")
    assert (after == again.event("target")).all()
    assert ((after == before) | (after == 0)).all()
    ends = np.cumsum(rows.length_B)[:-1]
    assert [part.any() for part in np.split(after, ends)] == [part.any() for part in np.split(before, ends)]


def test_the_share_is_that_of_the_configuration() -> None:
    rows = make_rows([Example(range(3, 13))] * 500)
    drawn = make_model("item", share=0.4).encoder.draw(rows, np.random.default_rng(1))
    alone = masked._ALONE_SHARE
    assert (drawn.event("target") > 0).sum() / 500 == pytest.approx(alone * 1 + (1 - alone) * 0.4 * 9, abs=0.2)


def test_where_every_event_is_asked_anyway_all_targets_are_learned_from() -> None:
    rows = make_rows([Example(ITEMS)])
    assert make_model("item", "next_type").encoder.draw(rows, np.random.default_rng(1)) is rows


def test_many_passes_in_parts_answer_and_learn_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = make_batch([Example(ITEMS, bought=1.0), Example([3, 4, 8], bought=0.0)])
    found = []
    for tokens in (1 << 13, 9):
        monkeypatch.setattr(masked, "_TOKENS", tokens)
        model = make_model("item", "session").train()
        hidden_BLD = model.encode(batch)
        (hidden_BLD * torch.arange(16.0)).sum().backward()
        found.append((hidden_BLD.detach(), model.encoder.blocks[0][0].branch.to_qkv.weight.grad))
    for at_once, in_parts in zip(*found, strict=True):
        torch.testing.assert_close(in_parts, at_once, rtol=1e-4, atol=1e-5)


def test_an_encoder_that_learned_items_alone_answers_at_the_points_that_are_scored() -> None:
    model = make_model("item").eval()
    rows = make_rows([Example([3, 4, 5], bought=0.0), Example([6, 7], bought=0.0)])
    inputs = inputs_from_rows(rows)
    hidden_ND = model.encode_points(inputs)[inputs.row_P, inputs.position_P]
    assert hidden_ND.abs().sum(dim=1).min() > 0
    assert not torch.allclose(*hidden_ND)
    asked = make_batch([Example([3, 4, 5], targets=(0, 0, 9)), Example([6, 7], targets=(0, 9))])  # as evaluation asks
    torch.testing.assert_close(hidden_ND, model.encode(asked)[inputs.row_P, inputs.position_P])
