"""Heads: what is read off the hidden vectors.

Legend: N rows to score, D width, I items (special ids included), P as-of points, F user features, K inner width,
A logits of one answer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from purchasepath.models.layers import LOG_SECONDS_SCALE

NUM_SPECIAL_ITEMS = 3
"""Ids 0 (padding), 1 (no item) and 2 (unknown item) are inputs only; they are never recommended."""


class NextItemHead(nn.Module):
    """A score for every item: its embedding (shared with the encoder's input) times the hidden vector, plus a bias."""

    def __init__(self, num_items: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(num_items))

    def forward(self, hidden_ND: Tensor, item_ID: Tensor, start: int = 0) -> Tensor:
        """Scores of the items `start … start + len(item_ID) - 1`; special ids score -inf."""
        bias_I = self.bias[start : start + item_ID.shape[0]]
        num_special = min(NUM_SPECIAL_ITEMS - start, item_ID.shape[0])
        if num_special > 0:  # -inf in the bias costs nothing; masking the scores would copy them
            bias_I = torch.cat((bias_I.new_full((num_special,), float("-inf")), bias_I[num_special:]))
        return functional.linear(hidden_ND, item_ID, bias_I)


class CalibratedHead(nn.Module):
    """A head whose answers are calibrated after training (`kinds.py`): by a scale and a shift, at first 1 and 0."""

    calibration: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calibration", torch.tensor([1.0, 0.0]))

    def reset_calibration(self) -> None:
        self.calibration.copy_(torch.tensor([1.0, 0.0]))


class PointHead(CalibratedHead):
    """Logits of an answer at an as-of point, from the hidden vector, the idle time and the user's features.

    A linear term on idle time and features plus an MLP on everything: with the MLP at zero, where it starts,
    the head is a regression on the features (and training begins at the fitted one).
    """

    def __init__(self, width: int, num_features: int, dropout: float, logits: int = 1) -> None:
        super().__init__()
        self.linear = nn.Linear(1 + num_features, logits)
        self.inner = nn.Linear(width + 1 + num_features, width)
        self.dropout = nn.Dropout(dropout)
        self.outer = nn.Linear(width, logits, bias=False)

    def start_at_zero(self) -> None:
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.outer.weight)

    @staticmethod
    def known(idle_P: Tensor, features_PF: Tensor) -> Tensor:
        """Inputs of the linear term (P, 1 + F): what is known of the user beside the sequence."""
        return torch.cat((idle_P.unsqueeze(1) / LOG_SECONDS_SCALE, features_PF), dim=1)

    def forward(self, hidden_PD: Tensor, idle_P: Tensor, features_PF: Tensor) -> Tensor:
        """logit_P of one logit, logit_PA of several"""
        known_PF = self.known(idle_P, features_PF)
        inner_PK = self.dropout(functional.silu(self.inner(torch.cat((hidden_PD, known_PF), dim=1))))
        logit_PA = self.linear(known_PF) + self.outer(inner_PK)
        return logit_PA.squeeze(1) if logit_PA.shape[1] == 1 else logit_PA


class SessionHead(CalibratedHead):
    """Logit, right after an event, of a purchase later in its session."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.answer = _read_off(width, 1, dropout)

    def forward(self, hidden_ND: Tensor) -> Tensor:
        return self.answer(hidden_ND).squeeze(1)


class TypeHead(nn.Module):
    """A logit, right after an event, for every type of the next one; the padding type (0) is never the answer."""

    def __init__(self, width: int, num_types: int, dropout: float) -> None:
        super().__init__()
        self.answer = _read_off(width, num_types - 1, dropout)

    def forward(self, hidden_ND: Tensor) -> Tensor:
        return functional.pad(self.answer(hidden_ND), (1, 0), value=float("-inf"))


def _read_off(width: int, answers: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(width, answers))
