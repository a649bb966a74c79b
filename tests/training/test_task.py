from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from purchasepath.config import Config, load_config
from purchasepath.errors import TooFewRowGroupsError, UserError
from purchasepath.training.ranks import SoloRanks
from purchasepath.training.task import Request, build_for, clear_workspace, read_result, train_on_rank
from tests.tiny_dataset import write_dataset


def make_config(directory: Path, *more: str) -> Config:
    return load_config([], [
        f"paths.dataset={directory / 'dataset'}", f"paths.models={directory / 'models'}", "model.width=8",
        "model.layers=1", "training.epochs=2", "training.batch_size=32", "training.ranks=1", *more,
    ])


def test_a_request_survives_the_way_through_json(tmp_path: Path) -> None:
    request = Request.of(make_config(tmp_path), write_dataset(tmp_path / "dataset", train=64, valid=32))
    assert Request.from_json(request.to_json()) == request
    assert Path(request.dataset).is_absolute()


def test_training_leaves_weights_curves_and_no_temporary_files(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    manifest = write_dataset(tmp_path / "dataset")
    request = Request.of(config, manifest)
    train_on_rank(SoloRanks(), request.to_json())
    workspace = Path(request.workspace)
    result = read_result(workspace)
    build_for(manifest, config.model).load_state_dict(result.weights, strict=True)
    assert [curve["epoch"] for curve in result.curves] == [1, 2]
    assert result.best["valid_loss"] == min(curve["valid_loss"] for curve in result.curves)
    assert {row["metric"] for row in result.curve_rows("abc")} >= {"train_loss", "valid_loss", "valid_recall_10"}
    clear_workspace(workspace, checkpoints=True)
    assert not list(workspace.iterdir())


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    class SecondRank(SoloRanks):
        rank = 1

        def broadcast_(self, tensors: Iterable[torch.Tensor]) -> None:
            """As if rank 0 had sent an empty JSON object and this rank's own weights."""
            for tensor in tensors:
                if tensor.dtype == torch.int64:
                    tensor.fill_(len("{}"))
                elif tensor.dtype == torch.uint8:
                    tensor.copy_(torch.tensor(list(b"{}")))

    request = Request.of(make_config(tmp_path), write_dataset(tmp_path / "dataset"))
    train_on_rank(SecondRank(), request.to_json())
    assert not Path(request.workspace).exists()


def test_the_fingerprint_follows_what_is_learned_and_not_where_it_runs(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "dataset", train=64, valid=32)

    def fingerprint(*more: str) -> str:
        return Request.of(make_config(tmp_path, *more), manifest).fingerprint(manifest)

    assert fingerprint() == fingerprint("training.ranks=2", "training.checkpoint_steps=7")
    assert len({fingerprint(), fingerprint("model.width=16"), fingerprint("training.seed=1")}) == 3


def test_a_dataset_replaced_meanwhile_is_refused(tmp_path: Path) -> None:
    request = Request.of(make_config(tmp_path), write_dataset(tmp_path / "dataset", train=64, valid=32))
    later = Request(**{**request.__dict__, "dataset_version": "v0"})
    with pytest.raises(UserError, match="was replaced"):
        train_on_rank(SoloRanks(), later.to_json())


def test_too_few_row_groups_are_refused_before_anything_starts(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "dataset", train=32, valid=32)
    with pytest.raises(TooFewRowGroupsError, match="1 row groups for 2 ranks"):
        Request.of(make_config(tmp_path, "training.ranks=2"), manifest)
