from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from purchasepath.config import Model, Training
from purchasepath.datasets.rows import Rows
from purchasepath.models.build import PurchasePathModel, build_model
from purchasepath.training.checkpoint import Checkpoints
from purchasepath.training.loop import State, Trainer, TrainingDivergedError
from purchasepath.training.ranks import RanksChangedError, SoloRanks
from tests.training.feeds import NUM_FEATURES, Example, KilledError, MemoryFeed, make_batch, make_rows

CONFIG = Training(epochs=3, patience=3, batch_size=8, warmup_steps=0, learning_rate=0.01, checkpoint_steps=2)


def make_model(dropout: float = 0.2, encoder: str = "transformer") -> PurchasePathModel:
    torch.manual_seed(1)
    return build_model(
        Model(encoder=encoder, width=8, heads=2, layers=1, dropout=dropout, tasks=("item", "purchase")),
        num_items=12, num_types=3, num_features=NUM_FEATURES, max_length=8,
    )


def make_examples(count: int, seed: int = 0) -> list[Example]:
    generator = np.random.default_rng(seed)
    return [
        Example(
            items=generator.integers(3, 12, size=generator.integers(2, 8)).tolist(),
            bought=float(generator.integers(2)),
            features=generator.normal(size=NUM_FEATURES).tolist(),
        )
        for _ in range(count)
    ]


FEED = MemoryFeed(make_examples(44), make_examples(10, seed=1), batch_size=8)


def train(
    feed: MemoryFeed, *, directory: Path | None = None, config: Training = CONFIG, report: list[str] | None = None,
    encoder: str = "transformer",
) -> tuple[dict[str, torch.Tensor], State]:
    model = make_model(encoder=encoder)
    trainer = Trainer(
        model, feed, SoloRanks(), config,
        checkpoints=Checkpoints(directory, "same run") if directory else None,
        report=(report if report is not None else []).append,
    )
    state = trainer.fit()
    return model.state_dict(), state


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_the_same_run_twice_gives_the_same_weights() -> None:
    assert same(train(replace(FEED))[0], train(replace(FEED))[0])


@pytest.mark.parametrize("killed_before", [1, 3, 6, 11])
def test_a_killed_run_resumes_to_the_identical_weights_and_curves(tmp_path: Path, killed_before: int) -> None:
    # six steps an epoch: killed before the first checkpoint, within and between epochs
    expected, state = train(replace(FEED))
    with pytest.raises(KilledError):
        train(replace(FEED, fail_after=killed_before), directory=tmp_path)
    resumed, resumed_state = train(replace(FEED), directory=tmp_path)
    assert same(expected, resumed)
    for curve, again in zip(state.curves, resumed_state.curves, strict=True):
        for name in curve.keys() - {"examples_per_s", "tokens_per_s"}:
            assert curve[name] == pytest.approx(again[name], rel=1e-12, nan_ok=True), name


def test_ranks_that_change_lose_nothing(tmp_path: Path) -> None:
    class ChangingRanks(SoloRanks):
        asked = 0

        def may_change(self) -> None:
            self.asked += 1
            if self.asked == 2:
                raise RanksChangedError

    model, feed, ranks = make_model(), replace(FEED), ChangingRanks()
    checkpoints = Checkpoints(tmp_path, "same run")
    with pytest.raises(RanksChangedError):
        Trainer(model, feed, ranks, CONFIG, checkpoints=checkpoints).fit()
    again = make_model()
    Trainer(again, feed, ranks, CONFIG, checkpoints=checkpoints).fit()
    assert same(again.state_dict(), train(replace(FEED))[0])
    assert feed.delivered <= 18 + 1  # the one read ahead when the ranks changed


def test_with_negatives_a_killed_run_resumes_to_the_identical_weights(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"negatives": 4})
    expected, state = train(replace(FEED), config=config)
    with pytest.raises(KilledError):
        train(replace(FEED, fail_after=11), directory=tmp_path, config=config)
    assert same(expected, train(replace(FEED), directory=tmp_path, config=config)[0])
    assert not same(expected, train(replace(FEED))[0])
    assert state.curves[-1]["valid_item_loss"] < state.curves[0]["valid_item_loss"]


def test_what_is_masked_is_the_same_after_a_stop(tmp_path: Path) -> None:
    expected, state = train(replace(FEED), encoder="bert4rec")
    with pytest.raises(KilledError):
        train(replace(FEED, fail_after=11), directory=tmp_path, encoder="bert4rec")
    resumed, resumed_state = train(replace(FEED), directory=tmp_path, encoder="bert4rec")
    assert same(expected, resumed)
    assert [c["train_loss"] for c in state.curves] == pytest.approx([c["train_loss"] for c in resumed_state.curves])


@pytest.mark.parametrize(("select_by", "best_epoch"), [("loss", 1), ("ndcg", 3)])
def test_the_best_epoch_is_the_one_that_predicts_or_the_one_that_ranks_best(select_by: str, best_epoch: int) -> None:
    told = iter([{"item_loss": 1.0 + epoch, "purchase_loss": 1.0, "recall_10": 0.5, "ndcg_10": ndcg, "mrr_10": 0.1}
                 for epoch, ndcg in enumerate((0.1, 0.2, 0.4, 0.3))])
    config = CONFIG.model_copy(update={"select_by": select_by, "epochs": 4, "patience": 4})
    state = Trainer(make_model(), replace(FEED), SoloRanks(), config, validation=lambda *_: next(told)).fit()
    assert state.best_epoch == best_epoch


def test_a_resumed_run_repeats_no_more_than_the_steps_since_its_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        train(replace(FEED, fail_after=11), directory=tmp_path)
    feed, lines = replace(FEED), []
    train(feed, directory=tmp_path, report=lines)
    assert lines[0] == "resumed at epoch 2, step 4"
    assert feed.delivered == 18 - 10


def test_training_stops_after_patience_and_keeps_the_best_weights() -> None:
    # validation wants the opposite of what training teaches, so that the first epoch stays the best
    taught = [Example([3, 4, 3, 4], bought=1.0)] * 16
    wanted = [Example([3, 4, 3, 4], targets=[5, 6, 5, 6], bought=0.0)] * 4
    config = CONFIG.model_copy(update={"epochs": 10, "patience": 2, "learning_rate": 0.05})
    weights, state = train(MemoryFeed(taught, wanted, batch_size=8), config=config)
    impatient = config.model_copy(update={"patience": 1})
    first, _ = train(MemoryFeed(taught, wanted, batch_size=8), config=impatient)
    assert (state.best_epoch, state.epoch) == (1, 3)
    assert same(weights, first)


def test_curves_report_the_loss_of_the_weights_that_are_kept() -> None:
    weights, state = train(replace(FEED))
    model = make_model()
    model.load_state_dict(weights)
    model.eval()
    batch = make_batch(FEED.valid)
    hidden_BLD = model.encode(batch)
    known_BL = batch.target_BL > 2
    item_loss = torch.nn.functional.cross_entropy(model.item_scores(hidden_BLD[known_BL]), batch.target_BL[known_BL])
    logit_P = model.ask("purchase", batch, hidden_BLD)[0]
    purchase_loss = torch.nn.functional.binary_cross_entropy_with_logits(logit_P, batch.labels_PT[:, 0])
    best = state.curves[state.best_epoch - 1]
    assert best["valid_item_loss"] == pytest.approx(item_loss.item(), rel=1e-5)
    assert best["valid_purchase_loss"] == pytest.approx(purchase_loss.item(), rel=1e-5)
    assert best["valid_loss"] == pytest.approx(item_loss.item() + 0.5 * purchase_loss.item(), rel=1e-5)


def test_without_validation_targets_the_training_loss_decides() -> None:
    _, state = train(MemoryFeed(make_examples(16), [Example([5], targets=[0])], batch_size=8))
    assert math.isnan(state.curves[0]["valid_loss"])
    assert state.best_epoch == min(state.curves, key=lambda c: c["train_loss"])["epoch"]


def test_a_training_split_with_nothing_to_predict_is_an_error_that_says_so() -> None:
    with pytest.raises(TrainingDivergedError, match="nothing to predict"):
        train(MemoryFeed([Example([5], targets=[0])], [], batch_size=8))


def test_a_loss_that_is_not_a_number_names_the_rate_to_try() -> None:
    broken = [Example([5, 6], bought=1.0, features=(math.nan, 0.0, 0.0))] * 8
    with pytest.raises(TrainingDivergedError, match=r"training\.learning_rate=0\.0033"):
        train(MemoryFeed(broken, [], batch_size=8))


class SumOfTwo:
    """Stands for rank 0 of two whose partner always holds what rank 1 sent to `partner` before."""

    rank, size, local_rank, local_size = 0, 2, 0, 2

    def __init__(self, partner: Sequence[torch.Tensor]) -> None:
        self.partner = iter(partner)

    def sum_(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.add_(next(self.partner))

    def broadcast_(self, tensors: object) -> None:
        return None

    def barrier(self) -> None:
        return None


def test_the_gradient_is_that_of_the_whole_batch_however_it_is_shared() -> None:
    examples = make_examples(8)
    whole = _gradient(make_rows(examples), SoloRanks())

    class Recorder(SoloRanks):
        sent: list[torch.Tensor]

        def sum_(self, tensor: torch.Tensor) -> torch.Tensor:
            self.sent.append(tensor.clone())
            # rank 1 alone would divide by its own counts; it must divide by everybody's
            return tensor.add_(counts) if len(self.sent) == 1 else tensor

    mine, other = make_rows(examples[:2]), make_rows(examples[2:])
    recorder = Recorder()
    recorder.sent = []
    counts = torch.tensor([float((mine.event("target") > 2).sum()), mine.points], dtype=torch.float64)
    _gradient(other, recorder)
    shared = _gradient(mine, SumOfTwo(recorder.sent))
    torch.testing.assert_close(shared, whole, rtol=1e-4, atol=1e-6)


def _gradient(rows: Rows, ranks: object) -> torch.Tensor:
    trainer = Trainer(make_model(dropout=0.0), FEED, ranks, CONFIG.model_copy(update={"clip_norm": 1e9}))
    trainer.update(rows)
    return trainer.flat.gradients_W.clone()


def test_a_rank_without_rows_takes_its_step() -> None:
    gradient = _gradient(make_rows([]), SoloRanks())
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_every_epoch_is_reported_in_one_line() -> None:
    lines: list[str] = []
    train(replace(FEED), report=lines)
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert "recall@10" in lines[0]
