"""Where each task is asked and what the right answers are, by hand, and that later events do not matter."""

from __future__ import annotations

from dataclasses import replace
from math import nan

import pytest
import torch

from purchasepath.config import Model
from purchasepath.datasets.batch import batch_from_rows
from purchasepath.datasets.rows import Rows
from purchasepath.models.build import PurchasePathModel, build_model
from purchasepath.tables.tasks import LABEL_NAMES, TASK
from tests.training.feeds import NUM_FEATURES, Example, make_rows

ALL = tuple(TASK)


@pytest.fixture(scope="module")
def model() -> PurchasePathModel:
    torch.manual_seed(0)
    model = build_model(Model(width=8, heads=2, tasks=ALL), num_items=12, num_types=9, num_features=NUM_FEATURES,
                        max_length=8, label_names=LABEL_NAMES).eval()
    for head in model.heads.values():
        for parameter in head.parameters():
            torch.nn.init.normal_(parameter)
    return model


def told() -> Rows:
    """A stretch whose first event is context; its session of events 2 to 4 bought at the fourth."""
    rows = make_rows([Example([3, 4, 5, 6, 7], bought=1.0, labels={"orders": 2.0, "returns": nan}),
                      Example([8], bought=0.0)])
    rows.event("type")[:] = [3, 1, 3, 7, 3, 3]
    rows.event("outcome")[:] = [0, 3, 3, 1, 2, 2]
    return rows


@pytest.mark.parametrize(("task", "answers"), [
    ("purchase", [1, 0]), ("churn", [0, 1]), ("value", [30, 0]), ("orders", [2, 0]),
    ("returns", [0]),  # of the first nothing is known
    ("session", [1, 1, 0, 0]),  # not at the context, not at the purchase
    ("next_type", [3, 7, 3]),        # after events 2, 3 and 4: what follows the context is asked elsewhere
])
def test_right_answers_worked_out_by_hand(model: PurchasePathModel, task: str, answers: list[int]) -> None:
    batch = batch_from_rows(told())
    logits, found = model.ask(task, batch, model.encode(batch))
    assert found.tolist() == answers
    assert model.asked[task].count(told()) == len(answers) == len(logits)


@pytest.mark.parametrize("task", ["session", "next_type"])
def test_what_follows_an_event_does_not_change_its_answer(model: PurchasePathModel, task: str) -> None:
    batch = batch_from_rows(told())
    changed = replace(batch, **{name: torch.cat((getattr(batch, name)[:, :3], getattr(batch, name)[:, 3:] + 1), dim=1)
                                for name in ("item_BL", "gap_BL", "price_BL")})
    changed = replace(changed, type_BL=torch.tensor([[3, 1, 3, 2, 4], [3, 0, 0, 0, 0]]))
    logits, answers = model.ask(task, batch, model.encode(batch))
    again, others = model.ask(task, changed, model.encode(changed))
    assert torch.equal(logits[:2], again[:2])  # of events 2 and 3; what changed are events 4 and 5
    assert not torch.equal(logits[2], again[2])
    assert task == "session" or answers.tolist() != others.tolist()


def test_no_next_event_is_ever_said_to_be_padding(model: PurchasePathModel) -> None:
    batch = batch_from_rows(told())
    logit_NT = model.ask("next_type", batch, model.encode(batch))[0]
    assert torch.isneginf(logit_NT[:, 0]).all()
    torch.testing.assert_close(logit_NT.softmax(dim=1).sum(dim=1), torch.ones(3))


def test_tasks_that_are_not_predicted_have_no_head() -> None:
    sizes = {"num_items": 12, "num_types": 9, "num_features": 2, "max_length": 8}
    assert list(build_model(Model(width=8, tasks=("item",)), **sizes).heads) == []
    shuffled = build_model(Model(width=8, tasks=("next_type", "item", "purchase")), **sizes, label_names=LABEL_NAMES)
    assert shuffled.tasks == ("item", "purchase", "next_type")
