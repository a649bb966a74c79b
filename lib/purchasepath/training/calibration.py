"""Answers that mean what they say: after training, each head's answers are calibrated on validation.

A yes-or-no head by Platt's scaling (1999), two numbers: probability = sigmoid(scale * logit + shift), fitted by maximum
likelihood from (1, 0), so that the validation loss never rises. A positive scale keeps every order; where validation
would turn the order around, or holds one class only, the head stays as it is. Decision 12 says why not by temperature
or isotonic regression. Amounts and counts by a scale: the sum of the answers becomes that of validation, but for a pull
of `_PRIOR_POINTS` mean points towards 1, as a few large orders decide a sum.

Legend: N places where a task is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from purchasepath.models.heads import CalibratedHead
from purchasepath.models.kinds import ANSWERS
from purchasepath.tables.tasks import TASK, Kind
from purchasepath.training.microbatch import split_by_length
from purchasepath.training.regressions import fit_regression, logistic

if TYPE_CHECKING:
    from purchasepath.models.build import PurchasePathModel
    from purchasepath.training.device import Device
    from purchasepath.training.feed import Feed
    from purchasepath.training.ranks import Ranks

_TOKENS_PER_PART = 4096
_PRIOR_LOGISTIC = 1.0
_PRIOR_POINTS = 100.0


def calibrate(model: PurchasePathModel, feed: Feed, ranks: Ranks, device: Device) -> dict[str, float]:
    """Sets the calibration of every head that has one, the same on all ranks.

    Returns, of each, `<task>_scale` and `<task>_shift`; of a yes-or-no task with something to learn from also the loss
    of validation before and after: `valid_<task>_loss_raw` and `valid_<task>_loss_calibrated`.
    """
    found: dict[str, float] = {}
    for task, (logits, answer_N) in _answers(model, feed, device).items():
        binary = TASK[task].kind == Kind.BINARY
        scale_shift = _fit(logits, answer_N, ranks) if binary else _scale(
            model.answer(task, logits, calibrated=False), answer_N, ranks)
        calibration = model.heads[task].calibration
        assert isinstance(calibration, Tensor)
        calibration.copy_(scale_shift)
        scale, shift = scale_shift.tolist()
        found |= {f"{task}_scale": scale, f"{task}_shift": shift}
        if binary:
            found |= _losses(model, task, logits, scale * logits + shift, answer_N, ranks)
    return found


def _losses(
    model: PurchasePathModel, task: str, raw_N: Tensor, calibrated_N: Tensor, answer_N: Tensor, ranks: Ranks
) -> dict[str, float]:
    raw, calibrated = (model.loss_sum(task, logit_N, answer_N).double() for logit_N in (raw_N, calibrated_N))
    places = torch.tensor(float(len(answer_N)), dtype=torch.float64)
    raw_sum, calibrated_sum, count = ranks.sum_(torch.stack((raw, calibrated, places))).tolist()
    if not count:
        return {}
    return {f"valid_{task}_loss_raw": raw_sum / count, f"valid_{task}_loss_calibrated": calibrated_sum / count}


def _fit(logit_N: Tensor, answer_N: Tensor, ranks: Ranks) -> Tensor:
    """(scale, shift), float64."""
    identity = torch.tensor([1.0, 0.0], dtype=torch.float64)
    yes, places = ranks.sum_(torch.tensor([float(answer_N.sum()), float(len(answer_N))], dtype=torch.float64)).tolist()
    if not 0 < yes < places:
        return identity
    inputs_N2 = torch.stack((logit_N, torch.ones_like(logit_N)), dim=1).double()
    fitted = fit_regression(logistic, inputs_N2, answer_N.double(), identity, ranks, prior=_PRIOR_LOGISTIC)
    return fitted if fitted[0] > 0 else identity


def _scale(expected_N: Tensor, answer_N: Tensor, ranks: Ranks) -> Tensor:
    """(scale, 0), float64."""
    sums = [float(expected_N.double().sum()), float(answer_N.double().sum()), float(len(answer_N))]
    expected, happened, places = ranks.sum_(torch.tensor(sums, dtype=torch.float64)).tolist()
    if not (happened > 0 and expected > 0):
        return torch.tensor([1.0, 0.0], dtype=torch.float64)
    pull = _PRIOR_POINTS * happened / places
    return torch.tensor([(happened + pull) / (expected + pull), 0.0], dtype=torch.float64)


def _answers(model: PurchasePathModel, feed: Feed, device: Device) -> dict[str, tuple[Tensor, Tensor]]:
    """(logits, answer_N) of every task whose head is calibrated, of this rank's share of the validation split."""
    tasks = [task for task in model.asked if isinstance(model.heads[task], CalibratedHead)]
    found = {task: [(_nothing(task), torch.zeros(0))] for task in tasks}  # a rank may have no places
    model.eval()
    with torch.inference_mode(), feed.batches("valid", 0) as batches:
        for rows in batches if tasks else ():
            for part in split_by_length(rows, _TOKENS_PER_PART):
                part = part.to(device.device, non_blocking=True)
                hidden_BLD = model.encode(part)  # in full precision, as scoring does
                for task in tasks:
                    logits, answer_N = model.ask(task, part, hidden_BLD)
                    found[task].append((logits.cpu(), answer_N.cpu()))
    return {task: (torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]))
            for task, parts in found.items()}


def _nothing(task: str) -> Tensor:
    logits = ANSWERS[TASK[task].kind].logits
    return torch.zeros(0) if logits == 1 else torch.zeros(0, logits)
