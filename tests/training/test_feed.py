from __future__ import annotations

from pathlib import Path

import pytest

from purchasepath.config import Training
from purchasepath.datasets.manifest import Manifest
from purchasepath.training.feed import DatasetFeed
from purchasepath.training.ranks import SoloRanks
from tests.tiny_dataset import write_dataset

CONFIG = Training(batch_size=32, lanes=4)


class RankOfTwo(SoloRanks):
    size = 2

    def __init__(self, rank: int) -> None:
        self.rank = rank  # type: ignore[misc]


def feeds(directory: Path, manifest: Manifest) -> list[DatasetFeed]:
    return [DatasetFeed(directory, manifest, RankOfTwo(rank), CONFIG) for rank in (0, 1)]


def rows(feed: DatasetFeed, split: str, epoch: int, start_step: int = 0) -> list[int]:
    with feed.batches(split, epoch, start_step) as batches:
        return [batch.rows for batch in batches]


@pytest.mark.parametrize("split", ["train", "valid"])
def test_ranks_take_equal_steps_and_together_every_row(tmp_path: Path, split: str) -> None:
    manifest = write_dataset(tmp_path, train=150, valid=20)  # the validation split is one row group
    shares = [rows(feed, split, 0) for feed in feeds(tmp_path, manifest)]
    assert [len(share) for share in shares] == [feed.steps(split) for feed in feeds(tmp_path, manifest)]
    assert sum(map(sum, shares)) == manifest.rows(split)


def test_a_resumed_epoch_goes_on_at_its_step(tmp_path: Path) -> None:
    feed, _ = feeds(tmp_path, write_dataset(tmp_path, train=150, valid=20))
    assert rows(feed, "train", 1, start_step=3) == rows(feed, "train", 1)[3:]


def test_a_split_without_examples_has_no_batches(tmp_path: Path) -> None:
    feed, _ = feeds(tmp_path, write_dataset(tmp_path, train=150, valid=0))
    assert rows(feed, "valid", 0) == []
