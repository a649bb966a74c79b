"""The training loop: epochs of equal steps on every rank, validation, early stopping, checkpoints.

Losses are sums. A rank's gradient is that of its own loss sum divided by the number of targets on all ranks, and
gradients are summed over ranks: any number of ranks computes the gradient of the whole batch.
Every decision is taken from reduced numbers, so all ranks take the same one.

Legend: Q tasks of the model, in its order.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from purchasepath.errors import UserError
from purchasepath.models.losses import draw_negatives, next_item_loss, select_targets
from purchasepath.training.checkpoint import Checkpoints
from purchasepath.training.device import Device
from purchasepath.training.exchange import Exchange, count_places
from purchasepath.training.feed import Feed
from purchasepath.training.microbatch import split_by_length
from purchasepath.training.optimizer import AdamW, FlatModel, learning_rate
from purchasepath.training.ranks import Ranks, share_json
from purchasepath.training.validation import Validation, ratio, validate

if TYPE_CHECKING:
    from purchasepath.config import Training
    from purchasepath.datasets.batch import Batch
    from purchasepath.datasets.rows import Rows
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

    `sums` are the tasks' losses, the places where each was asked, examples and tokens of the epoch so far, over
    all ranks.
    """

    epoch: int = 0
    step: int = 0
    updates: int = 0
    sums: list[float] = field(default_factory=list)
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
        validation: Validation = validate,
    ) -> None:
        self.device = Device.choose(config.precision, ranks.local_rank)
        self.model = model.to(self.device.device)
        self.feed, self.ranks, self.config = feed, ranks, config
        self.checkpoints, self.report = checkpoints, report if ranks.rank == 0 else _say_nothing
        self.validation = validation
        self.tasks = model.tasks
        self.flat = FlatModel(model, counts=len(self.tasks))
        self.optimizer = AdamW(model, self.flat, config)
        by_rows = bool(config.negatives) or "item" not in self.tasks  # the full softmax touches every item
        self.exchange = Exchange(model, self.flat, ranks, by_rows=by_rows)
        self.best = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        self.state = State(sums=self._no_sums())
        self.losses_Q = torch.zeros(len(self.tasks), dtype=torch.float64, device=self.device.device)
        self.counts = torch.zeros(len(self.tasks) + 2, dtype=torch.float64)
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
        base = state.sums[-2:]  # a resumed epoch's speed counts what was done since
        spoke = started
        steps = self.feed.steps("train")
        with self.feed.batches("train", state.epoch, state.step) as batches:
            for rows, following in with_next(self._drawn(batches)):
                self.update(rows, following)
                if self.checkpoints and state.updates % self.config.checkpoint_steps == 0 and state.step < steps:
                    self._save()
                if time.perf_counter() - spoke > PROGRESS_SECONDS:
                    spoke = time.perf_counter()
                    self.report(f"epoch {state.epoch + 1}/{self.config.epochs}  step {state.step}/{steps}")
        sums = self._reduce_sums()
        seconds = time.perf_counter() - started
        examples, tokens = sums[-2] - base[0], sums[-1] - base[1]
        self._finish_epoch(sums, examples_per_s=examples / seconds, tokens_per_s=tokens / seconds)

    def _finish_epoch(self, sums: list[float], **speed: float) -> None:
        state, config = self.state, self.config
        size = len(self.tasks)
        losses, counts = sums[:size], sums[size : 2 * size]
        train = {f"{q}_loss": ratio(loss, n) for q, loss, n in zip(self.tasks, losses, counts, strict=True)}
        valid = self.validation(self.model, self.feed, self.ranks, self.device)
        curve = {f"train_{name}": value for name, value in train.items()}
        curve |= {f"valid_{name}": value for name, value in valid.items()}
        curve["train_loss"] = self._total_loss(train)
        if not math.isfinite(curve["train_loss"]):
            raise TrainingDivergedError(state.epoch + 1, config.learning_rate, targets=sum(counts))
        curve["valid_loss"] = self._total_loss(valid)
        curve["learning_rate"] = learning_rate(state.updates - 1, self.total_updates, config)
        state.epoch, state.step, state.sums = state.epoch + 1, 0, self._no_sums()
        self.losses_Q.zero_()
        self.counts.zero_()
        judged = _judge(curve, config)
        if judged < state.best or not state.best_epoch:
            state.best, state.best_epoch = judged, state.epoch
            for name, tensor in self.model.state_dict().items():
                self.best[name].copy_(tensor)
        state.curves.append({"epoch": state.epoch, **curve, **speed})
        self.report(describe_epoch(state.curves[-1], config.epochs, self.tasks))
        if self.checkpoints:
            self._save()

    def _drawn(self, batches: Iterable[Rows]) -> Iterator[Rows]:
        """The batches of the coming steps, each with what the step learns from."""
        for update, rows in enumerate(batches, start=self.state.updates):
            yield self.model.encoder.draw(rows, np.random.default_rng((self.config.seed, update, self.ranks.rank)))

    def update(self, rows: Rows, following: Rows | None = None) -> None:
        """One optimizer step on `rows`, this rank's share of the batch; `following` is its share of the next one."""
        state, config = self.state, self.config
        torch.manual_seed(_step_seed(config.seed, state.updates, self.ranks.rank))
        counts = count_batch(rows, self.model)
        self.counts += counts
        totals_Q = self.exchange.totals(rows).clamp(min=1)  # stay where they are: a GPU is not waited for
        self.model.train()
        self.flat.gradients_W.zero_()
        negative_K = self._negatives()
        drawn_K = None if negative_K is None else negative_K.to(self.device.device)
        with self._held_items():
            for part in split_by_length(rows, TOKENS_PER_PART[self.device.type]):
                losses_Q = self._losses(part.to(self.device.device, non_blocking=True), drawn_K)
                weighed = zip(self.tasks, losses_Q, totals_Q, strict=True)
                torch.stack([self._weight(q) * loss / total for q, loss, total in weighed]).sum().backward()
                self.losses_Q += losses_Q.detach()
        self.exchange.sum_(negative_K, following)
        self.flat.clip(config.clip_norm)
        self.optimizer.step(state.updates, learning_rate(state.updates, self.total_updates, config))
        state.step += 1
        state.updates += 1

    def _negatives(self) -> Tensor | None:
        """The items that this step's targets are told from, the same on every rank; None: all items."""
        if not self.config.negatives or "item" not in self.tasks:
            return None
        generator = torch.Generator().manual_seed(_step_seed(self.config.seed, self.state.updates))
        return draw_negatives(self.model.num_known, self.config.negatives, generator)

    def _held_items(self) -> AbstractContextManager[None]:
        """The step asks for the vectors of all items, again and again, or for those of a few."""
        whole = "item" in self.tasks and not self.config.negatives
        return self.model.held_items() if whole else nullcontext()

    def _losses(self, batch: Batch, negative_K: Tensor | None) -> Tensor:
        """losses_Q, each summed over the places of the batch where it is asked."""
        with self.device.autocast():
            hidden_BLD = self.model.encode(batch)
            return torch.stack([
                next_item_loss(self.model, *select_targets(hidden_BLD, batch.target_BL), negative_K)
                if q == "item" else self.model.loss_sum(q, *self.model.ask(q, batch, hidden_BLD))
                for q in self.tasks
            ])

    def _weight(self, task: str) -> float:
        return 1.0 if task == "item" else self.config.other_weight

    def _total_loss(self, losses: dict[str, float]) -> float:
        """The weighted sum; a loss without targets counts nothing, and without any the total is NaN."""
        known = [self._weight(q) * losses[f"{q}_loss"] for q in self.tasks if not math.isnan(losses[f"{q}_loss"])]
        return sum(known) if known else math.nan

    def _no_sums(self) -> list[float]:
        return [0.0] * (2 * len(self.tasks) + 2)

    def _reduce_sums(self) -> list[float]:
        """The epoch's sums so far over all ranks; what a rank holds of its own stays as it is."""
        return self.ranks.sum_(torch.cat((self.losses_Q.cpu(), self.counts))).tolist()

    def _tensors(self) -> dict[str, Tensor]:
        return {
            **{f"model.{name}": tensor for name, tensor in self.model.state_dict().items()},
            **{f"best.{name}": tensor for name, tensor in self.best.items()},
            **{f"adamw.{name}": tensor for name, tensor in self.optimizer.tensors().items()},
        }

    def _save(self) -> None:
        """A checkpoint, written by rank 0. Chance depends on (seed, update, rank), so no generator state is kept."""
        sums = self._reduce_sums()
        if self.ranks.rank == 0 and self.checkpoints:
            self.checkpoints.save(self.state.updates, self._tensors(), asdict(self.state) | {"sums": sums})
        self.ranks.may_change()

    def _restore(self) -> None:
        """Every rank at rank 0's newest checkpoint, or at rank 0's fresh weights."""
        loaded: dict[str, Any] = {}
        if self.ranks.rank == 0 and self.checkpoints:
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
                sums = torch.tensor(self.state.sums, dtype=torch.float64)
                self.losses_Q.copy_(sums[: len(self.tasks)])
                self.counts.copy_(sums[len(self.tasks) :])
            self.report(f"resumed at epoch {self.state.epoch + 1}, step {self.state.step}")


def with_next(batches: Iterable[Rows]) -> Iterator[tuple[Rows, Rows | None]]:
    """Every batch with the one that follows it, None with the last."""
    coming = iter(batches)
    batch = next(coming, None)
    while batch is not None:
        following = next(coming, None)
        yield batch, following
        batch = following


def count_batch(rows: Rows, model: PurchasePathModel) -> Tensor:
    """[places where each task is asked …, examples, tokens]"""
    size = torch.tensor([rows.rows, rows.events], dtype=torch.float64)
    return torch.cat((count_places(rows, model), size))


def describe_epoch(curve: dict[str, float], epochs: int, tasks: Sequence[str]) -> str:
    """One line: losses, validation recall, speed."""
    each = ", ".join(f"{q} {curve[f'valid_{q}_loss']:.4f}" for q in tasks)
    recall = f"  recall@10 {curve['valid_recall_10']:.4f}" if "item" in tasks else ""
    return (
        f"epoch {curve['epoch']:.0f}/{epochs}  train loss {curve['train_loss']:.4f}  "
        f"valid loss {curve['valid_loss']:.4f} ({each}){recall}  "
        f"{curve['examples_per_s']:,.0f} examples/s  {curve['tokens_per_s']:,.0f} tokens/s"
    )


def _judge(curve: dict[str, float], config: Training) -> float:
    """What the best epoch has least of; without anything to validate on, the training loss decides."""
    judged = -curve["valid_ndcg_10"] if config.select_by == "ndcg" else curve["valid_loss"]
    return judged if math.isfinite(judged) else curve["train_loss"]


def _step_seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _say_nothing(line: str) -> None:
    return None
