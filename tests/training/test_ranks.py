from __future__ import annotations

import torch

from purchasepath.training.ranks import SoloRanks, share_json


def test_the_only_rank_is_its_own_sum() -> None:
    ranks, values = SoloRanks(), torch.tensor([1.0, 2.0])
    assert ranks.sum_(values) is values
    assert values.tolist() == [1.0, 2.0]
    assert (ranks.rank, ranks.size) == (0, 1)


def test_json_arrives_as_it_was() -> None:
    value = {"epoch": 3, "curves": [{"größe": 1.5}], "best": float("inf")}
    assert share_json(value, SoloRanks()) == value
    assert share_json({}, SoloRanks()) == {}
