"""The training loop: epochs of equal steps on every rank, validation, early stopping, checkpoints.

Losses are sums. A rank's gradient is that of its own loss sum divided by the number of targets on all ranks, and
gradients are summed over ranks: any number of ranks computes the gradient of the whole batch.
Every decision is taken from reduced numbers, so all ranks take the same one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from purchasepath.errors import UserError
from purchasepath.models.heads import NUM_SPECIAL_ITEMS
from purchasepath.models.losses import draw_negatives, next_item_loss, purchase_loss, select_targets
from purchasepath.training.checkpoint import Checkpoints
from purchasepath.training.device import Device
from purchasepath.training.feed import Feed
from purchasepath.training.microbatch import split_by_length
from purchasepath.training.optimizer import AdamW, FlatModel, learning_rate
from purchasepath.training.ranks import Ranks, share_json
from purchasepath.training.validation import ratio, validate

if TYPE_CHECKING:
    from purchasepath.config import Training
    from purchasepath.datasets.batch import Batch
    from purchasepath.models.build import PurchasePathModel

TOKENS_PER_PART = {"cpu": 1024, "cuda": 1 << 16}
"""Padded events computed at once. A CPU's cache holds small parts; a GPU gains from large ones."""
PROGRESS_SECONDS = 20.0


class TrainingDivergedError(UserError):
    """The training loss is not a number."""

    def __init__(self, epoch: int, rate: float, targets: float) -> None:
        found = (
            f"the training loss of epoch {epoch} is not a number; expected a finite one: "
            f"train with a smaller rate, for example --set training.learning_rate={rate / 3:.2g}"
            if targets else
            "the training split has nothing to predict: no next item that is in the vocabulary and no as-of point; "
            "write the dataset from a longer history, or with a smaller dataset.min_item_count"
        )
        super().__init__(found)


@dataclass
class State:
    """Where training stands; with the tensors, all that a checkpoint needs.

    `sums` are item loss, purchase loss, item targets, points, examples and tokens of the epoch so far, over all ranks.
    """

    epoch: int = 0
    step: int = 0
    updates: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0] * 6)
    best_epoch: int = 0
    best: float = math.inf
    curves: list[dict[str, float]] = field(default_factory=list)


class Trainer:
    """Trains `model` in place; `fit` leaves the weights of the best epoch in it."""

    def __init__(
        self,
        model: PurchasePathModel,
        feed: Feed,
        ranks: Ranks,
        config: Training,
        *,
        checkpoints: Checkpoints | None = None,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.device = Device.choose(config.precision, ranks.local_rank)
        self.model = model.to(self.device.device)
        self.feed, self.ranks, self.config = feed, ranks, config
        self.checkpoints, self.report = checkpoints, report if ranks.rank == 0 else _say_nothing
        self.flat = FlatModel(model)
        self.optimizer = AdamW(model, self.flat, config)
        self.best = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        self.state = State()
        self.losses_2 = torch.zeros(2, dtype=torch.float64, device=self.device.device)
        self.counts_4 = torch.zeros(4, dtype=torch.float64)
        self.totals_2: Tensor | None = None  # of the coming step over all ranks; None: not exchanged yet
        self.total_updates = config.epochs * feed.steps("train")

    def fit(self) -> State:
        """Trains to the last epoch or until no epoch was better for `patience` epochs."""
        self._restore()
        while self.state.epoch < self.config.epochs and not self._is_out_of_patience():
            self._train_epoch()
        self.model.load_state_dict(self.best)
        return self.state

    def _is_out_of_patience(self) -> bool:
        return self.state.epoch - self.state.best_epoch >= self.config.patience

    def _train_epoch(self) -> None:
        state, started = self.state, time.perf_counter()
        base = state.sums[4:]  # a resumed epoch's speed counts what was done since
        spoke = started
        steps = self.feed.steps("train")
        with self.feed.batches("train", state.epoch, state.step) as batches:
            for batch, following in with_next(batches):
                self.update(batch, following)
                if self.checkpoints and state.updates % self.config.checkpoint_steps == 0 and state.step < steps:
                    self._save()
                if time.perf_counter() - spoke > PROGRESS_SECONDS:
                    spoke = time.perf_counter()
                    self.report(f"epoch {state.epoch + 1}/{self.config.epochs}  step {state.step}/{steps}")
        sums = self._reduce_sums()
        seconds = time.perf_counter() - started
        examples, tokens = sums[4] - base[0], sums[5] - base[1]
        self._finish_epoch(sums, examples_per_s=examples / seconds, tokens_per_s=tokens / seconds)

    def _finish_epoch(self, sums: list[float], **speed: float) -> None:
        state, config = self.state, self.config
        train = {"item_loss": ratio(sums[0], sums[2]), "purchase_loss": ratio(sums[1], sums[3])}
        valid = validate(self.model, self.feed, self.ranks, self.device)
        curve = {f"train_{name}": value for name, value in train.items()}
        curve |= {f"valid_{name}": value for name, value in valid.items()}
        curve["train_loss"] = _total_loss(train, config)
        if not math.isfinite(curve["train_loss"]):
            raise TrainingDivergedError(state.epoch + 1, config.learning_rate, targets=sums[2] + sums[3])
        curve["valid_loss"] = _total_loss(valid, config)
        curve["learning_rate"] = learning_rate(state.updates - 1, self.total_updates, config)
        state.epoch, state.step, state.sums = state.epoch + 1, 0, [0.0] * 6
        self.losses_2.zero_()
        self.counts_4.zero_()
        judged = _judge(curve, config)
        if judged < state.best or not state.best_epoch:
            state.best, state.best_epoch = judged, state.epoch
            for name, tensor in self.model.state_dict().items():
                self.best[name].copy_(tensor)
        state.curves.append({"epoch": state.epoch, **curve, **speed})
        self.report(describe_epoch(state.curves[-1], config.epochs))
        if self.checkpoints:
            self._save()

    def update(self, batch: Batch, following: Batch | None = None) -> None:
        """One optimizer step on this rank's share of the batch.

        The gradient needs the number of targets on all ranks beforehand. They are added up together with the gradients
        of the step before, so that the ranks wait for each other once a step.
        """
        state, config = self.state, self.config
        torch.manual_seed(_step_seed(config.seed, state.updates, self.ranks.rank))
        counts_4 = count_batch(batch)
        self.counts_4 += counts_4
        if self.totals_2 is None:
            self.totals_2 = self.ranks.sum_(counts_4[:2].clone()).to(self.flat.counts_2)
        items, points = self.totals_2.clamp(min=1)  # stay where they are: a GPU is not waited for
        self.model.train()
        self.flat.gradients_W.zero_()
        negative_K = self._negatives()
        for part in split_by_length(batch, TOKENS_PER_PART[self.device.type]):
            item_sum, purchase_sum = self._losses(part.to(self.device.device, non_blocking=True), negative_K)
            (item_sum / items + config.purchase_weight * purchase_sum / points).backward()
            self.losses_2 += torch.stack((item_sum.detach(), purchase_sum.detach()))
        if following is not None:
            self.flat.counts_2.copy_(count_batch(following)[:2])
        self.ranks.sum_(self.flat.sent)
        self.totals_2 = None if following is None else self.flat.counts_2.clone()
        self.flat.clip(config.clip_norm)
        self.optimizer.step(state.updates, learning_rate(state.updates, self.total_updates, config))
        state.step += 1
        state.updates += 1

    def _negatives(self) -> Tensor | None:
        """The items that this step's targets are told from, the same on every rank; None: all items."""
        if not self.config.negatives:
            return None
        generator = torch.Generator().manual_seed(_step_seed(self.config.seed, self.state.updates))
        return draw_negatives(self.model.num_items, self.config.negatives, generator).to(self.device.device)

    def _losses(self, batch: Batch, negative_K: Tensor | None) -> tuple[Tensor, Tensor]:
        with self.device.autocast():
            hidden_BLD = self.model.encode(batch)
            item_sum = next_item_loss(self.model, *select_targets(hidden_BLD, batch.target_BL), negative_K)
            purchase_sum = purchase_loss(self.model.purchase_logits(batch, hidden_BLD), batch.bought_P)
        return item_sum, purchase_sum

    def _reduce_sums(self) -> list[float]:
        """The epoch's sums so far over all ranks; what a rank holds of its own stays as it is."""
        return self.ranks.sum_(torch.cat((self.losses_2.cpu(), self.counts_4))).tolist()

    def _tensors(self) -> dict[str, Tensor]:
        return {
            **{f"model.{name}": tensor for name, tensor in self.model.state_dict().items()},
            **{f"best.{name}": tensor for name, tensor in self.best.items()},
            **{f"adamw.{name}": tensor for name, tensor in self.optimizer.tensors().items()},
        }

    def _save(self) -> None:
        """A checkpoint, written by rank 0. Dropout depends on (seed, update, rank), so no generator state is kept."""
        sums = self._reduce_sums()
        if self.ranks.rank == 0 and self.checkpoints:
            self.checkpoints.save(self.state.updates, self._tensors(), asdict(self.state) | {"sums": sums})

    def _restore(self) -> None:
        """Every rank at rank 0's newest checkpoint, or at rank 0's fresh weights."""
        loaded: dict[str, Any] = {}
        if self.ranks.rank == 0 and self.checkpoints and self.config.resume:
            checkpoint = self.checkpoints.load()
            if checkpoint is not None:
                loaded = checkpoint.state
                for name, tensor in self._tensors().items():
                    tensor.copy_(checkpoint.tensors[name])
        state = share_json(loaded, self.ranks)
        self.ranks.broadcast_(self._tensors().values())
        if state:
            self.state = State(**state)
            if self.ranks.rank == 0:
                sums_6 = torch.tensor(self.state.sums, dtype=torch.float64)
                self.losses_2.copy_(sums_6[:2])
                self.counts_4.copy_(sums_6[2:])
            self.report(f"resumed at epoch {self.state.epoch + 1}, step {self.state.step}")


def with_next(batches: Iterable[Batch]) -> Iterator[tuple[Batch, Batch | None]]:
    """Every batch with the one that follows it, None with the last."""
    coming = iter(batches)
    batch = next(coming, None)
    while batch is not None:
        following = next(coming, None)
        yield batch, following
        batch = following


def count_batch(batch: Batch) -> Tensor:
    """[next-item targets, as-of points, examples, tokens]"""
    targets = int((batch.target_BL >= NUM_SPECIAL_ITEMS).sum())
    return torch.tensor([targets, batch.points, batch.rows, int((batch.type_BL != 0).sum())], dtype=torch.float64)


def describe_epoch(curve: dict[str, float], epochs: int) -> str:
    """One line: losses, validation recall, speed."""
    return (
        f"epoch {curve['epoch']:.0f}/{epochs}  train loss {curve['train_loss']:.4f}  "
        f"valid loss {curve['valid_loss']:.4f} (item {curve['valid_item_loss']:.4f}, "
        f"purchase {curve['valid_purchase_loss']:.4f})  recall@10 {curve['valid_recall_10']:.4f}  "
        f"{curve['examples_per_s']:,.0f} examples/s  {curve['tokens_per_s']:,.0f} tokens/s"
    )


def _total_loss(losses: dict[str, float], config: Training) -> float:
    """The weighted sum; a loss without targets counts nothing, and without any the total is NaN."""
    item, purchase = losses["item_loss"], losses["purchase_loss"]
    if math.isnan(item) and math.isnan(purchase):
        return math.nan
    return (0.0 if math.isnan(item) else item) + config.purchase_weight * (0.0 if math.isnan(purchase) else purchase)


def _judge(curve: dict[str, float], config: Training) -> float:
    """What the best epoch has least of; without anything to validate on, the training loss decides."""
    judged = -curve["valid_ndcg_10"] if config.select_by == "ndcg" else curve["valid_loss"]
    return judged if math.isfinite(judged) else curve["train_loss"]


def _step_seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _say_nothing(line: str) -> None:
    return None
