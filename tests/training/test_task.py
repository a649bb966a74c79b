from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from purchasepath.bundle.trained import save_result
from purchasepath.config import Config, load_config
from purchasepath.datasets.manifest import FIRST_ITEM
from purchasepath.errors import TooFewRowGroupsError, UserError
from purchasepath.models.items import ItemTable
from purchasepath.training.rank_main import Request, build_for, clear_workspace, read_result, train_on_rank
from purchasepath.training.ranks import SoloRanks
from tests.tiny_bundle import write_vocabulary
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


def test_side_features_of_the_dataset_are_learned_and_left_in_a_plain_bundle(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    manifest = replace(write_dataset(tmp_path / "dataset", num_items=21), num_items=25, num_cold=4)
    write_vocabulary(manifest.vocabulary_path(tmp_path / "dataset"), manifest.num_items)
    ids = list(range(FIRST_ITEM, manifest.num_items))
    pq.write_table(pa.table({
        "id": pa.array(ids[::-1], pa.int32()), "category": pa.array([1 + i % 3 for i in ids[::-1]], pa.int32()),
        "vector": pa.array([[float(i), 1.0] for i in ids[::-1]], pa.list_(pa.float32())),
    }), manifest.side_path(tmp_path / "dataset"))
    manifest = replace(manifest, side_features={"category": 4, "vector": 2}, side_sha="s")
    manifest.save(tmp_path / "dataset")
    plain, told = replace(manifest, side_features={}, side_sha=""), manifest
    assert Request.of(config, told).fingerprint(told) != Request.of(config, plain).fingerprint(plain)

    request = Request.of(config, manifest)
    train_on_rank(SoloRanks(), request.to_json())
    result = read_result(Path(request.workspace))
    bundle = save_result(result, config, manifest, run_id="r", start=None)
    model = bundle.build()
    assert isinstance(model.encoder.embedding.item, ItemTable)
    cold_KD = model.encoder.embedding.item.weight[manifest.num_known:]
    assert len({tuple(row) for row in cold_KD.tolist()}) == manifest.num_cold  # by category and vector alone
    assert not model.next_item.bias.any()
    hidden_ND = torch.randn(2, config.model.width)
    trained = build_for(manifest, config.model)
    trained.load_state_dict(result.weights)
    assert torch.equal(model.item_scores(hidden_ND), trained.item_scores(hidden_ND))


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
