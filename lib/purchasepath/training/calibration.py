"""Probabilities that mean what they say: after training, each yes-or-no head's logits are calibrated on validation.

Platt's scaling (1999), two numbers a head: probability = sigmoid(scale * logit + shift), fitted by maximum likelihood
from (1, 0), so that the validation loss never rises. A positive scale keeps every order; where validation would turn
the order around, or holds one class only, the head stays as it is. Decision 12 says why not by temperature or
isotonic regression.

Legend: N places where a question is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from purchasepath.models.questions import BINARY, loss_sum
from purchasepath.training.logistic import fit_logistic
from purchasepath.training.microbatch import split_by_length

if TYPE_CHECKING:
    from purchasepath.models.build import PurchasePathModel
    from purchasepath.training.device import Device
    from purchasepath.training.feed import Feed
    from purchasepath.training.ranks import Ranks

_TOKENS_PER_PART = 4096
_PRIOR = 1.0


def calibrate(model: PurchasePathModel, feed: Feed, ranks: Ranks, device: Device) -> dict[str, float]:
    """Sets the calibration of every yes-or-no head, the same on all ranks.

    Returns, of each, `<question>_scale` and `<question>_shift`, and of those with something to learn from the loss of
    validation before and after: `valid_<question>_loss_raw` and `valid_<question>_loss_calibrated`.
    """
    found: dict[str, float] = {}
    for question, (logit_N, answer_N) in _answers(model, feed, device).items():
        scale_shift = _fit(logit_N, answer_N, ranks)
        calibration = model.heads[question].calibration
        assert isinstance(calibration, Tensor)
        calibration.copy_(scale_shift)
        scale, shift = scale_shift.tolist()
        found |= {f"{question}_scale": scale, f"{question}_shift": shift}
        raw, calibrated = loss_sum(logit_N, answer_N), loss_sum(scale * logit_N + shift, answer_N)
        sums = torch.stack((raw.double(), calibrated.double(), torch.tensor(float(len(answer_N)), dtype=torch.float64)))
        raw_sum, calibrated_sum, places = ranks.sum_(sums).tolist()
        if places:
            found[f"valid_{question}_loss_raw"] = raw_sum / places
            found[f"valid_{question}_loss_calibrated"] = calibrated_sum / places
    return found


def _fit(logit_N: Tensor, answer_N: Tensor, ranks: Ranks) -> Tensor:
    """(scale, shift), float64."""
    identity = torch.tensor([1.0, 0.0], dtype=torch.float64)
    yes, places = ranks.sum_(torch.tensor([float(answer_N.sum()), float(len(answer_N))], dtype=torch.float64)).tolist()
    if not 0 < yes < places:
        return identity
    inputs_N2 = torch.stack((logit_N, torch.ones_like(logit_N)), dim=1).double()
    fitted = fit_logistic(inputs_N2, answer_N.double(), identity, ranks, prior=_PRIOR)
    return fitted if fitted[0] > 0 else identity


def _answers(model: PurchasePathModel, feed: Feed, device: Device) -> dict[str, tuple[Tensor, Tensor]]:
    """(logit_N, answer_N) of every yes-or-no question, of this rank's share of the validation split."""
    questions = [question for question in model.predicts if question in BINARY]
    found: dict[str, list[tuple[Tensor, Tensor]]] = {q: [(torch.zeros(0), torch.zeros(0))] for q in questions}
    model.eval()
    with torch.inference_mode(), feed.batches("valid", 0) as batches:
        for rows in batches if questions else ():
            for part in split_by_length(rows, _TOKENS_PER_PART):
                part = part.to(device.device, non_blocking=True)
                hidden_BLD = model.encode(part)  # in full precision, as scoring does
                for question in questions:
                    logit_N, answer_N = model.ask(question, part, hidden_BLD)
                    found[question].append((logit_N.cpu(), answer_N.cpu()))
    return {q: (torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])) for q, parts in found.items()}
