"""What the training benchmark gives to every loop: the same events, items and targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.training import MAX_LENGTH, padded, sequences_of, write_events, write_seen_items
from purchasepath.config import Training
from purchasepath.datasets.batch import batch_from_rows
from purchasepath.datasets.manifest import FIRST_ITEM
from purchasepath.training.feed import DatasetFeed
from purchasepath.training.ranks import SoloRanks


def test_every_loop_sees_the_same_events_items_and_targets(tmp_path: Path) -> None:
    manifest = write_seen_items(tmp_path, 300)
    sequences = sequences_of(tmp_path, manifest)
    ours = []
    feed = DatasetFeed(tmp_path, manifest, SoloRanks(), Training(ranks=1, batch_size=64))
    with feed.batches("train", 0) as batches:
        for batch in map(batch_from_rows, batches):
            for item_L, target_L in zip(batch.item_BL, batch.target_BL, strict=True):
                real_L = item_L > 0
                ours.append((*item_L[real_L].tolist(), int(target_L[real_L][-1])))
                assert item_L[real_L][1:].tolist() == target_L[real_L][:-1].tolist()
    assert sorted(ours) == sorted(tuple(sequence.tolist()) for sequence in sequences)
    known = np.unique(np.concatenate(sequences))
    assert known.tolist() == list(range(FIRST_ITEM, manifest.num_items))
    assert padded(sequences).shape == (300, MAX_LENGTH + 1)
    write_events(tmp_path / "events.csv", sequences)
    head, *lines = (tmp_path / "events.csv").read_text().splitlines()
    assert head == "user,item"
    assert [line.split(",") for line in lines] == [
        [str(user), str(item)] for user, sequence in enumerate(sequences) for item in sequence
    ]


def test_padding_is_on_the_right() -> None:
    assert padded([np.array([5, 7])])[0, :3].tolist() == pytest.approx([5, 7, 0])
