"""The samples and the feed of the label-efficiency benchmark."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.label_efficiency import Points, PointsFeed, summarize
from purchasepath.datasets.batch import batch_from_rows
from purchasepath.datasets.rows import rows_from_arrow
from purchasepath.tables.tasks import LABEL_NAMES
from tests.tiny_bundle import EXAMPLE_SCHEMA, example


@pytest.fixture(scope="module")
def points() -> Points:
    import pyarrow as pa

    rows = [example([3 + n % 5, 4], points={1: n % 2}) for n in range(1000)]
    return Points(rows_from_arrow(pa.Table.from_pylist(rows, EXAMPLE_SCHEMA), 2, len(LABEL_NAMES)), np.arange(1000))


def test_a_sample_is_a_share_and_smaller_ones_lie_within_larger_ones(points: Points) -> None:
    small, large = points.sample(0.1, seed=3), points.sample(0.5, seed=3)
    assert 70 < len(small.ids) < 130
    assert set(small.ids) < set(large.ids) < set(points.sample(1.0, seed=3).ids)
    assert set(small.ids) != set(points.sample(0.1, seed=4).ids)
    assert small.rows.rows == len(small.ids)
    assert small.batch.labels_PT[:, 0].tolist() == [float(i % 2) for i in small.ids]


def test_an_epoch_gives_every_example_once_in_an_order_of_its_own(points: Points) -> None:
    feed = PointsFeed(points, points.sample(0.1, seed=0), batch_size=64, seed=1)
    epochs = []
    for epoch in (0, 0, 1):
        with feed.batches("train", epoch) as batches:
            epochs.append([float(x) for rows in batches for x in batch_from_rows(rows).item_BL[:, 0]])
    assert epochs[0] == epochs[1] != epochs[2]
    assert sorted(epochs[0]) == sorted(epochs[2]) == sorted(points.batch.item_BL[:, 0].tolist())
    assert feed.steps("train") == 16


def test_runs_are_summarized_by_way_and_share() -> None:
    same = {"question": "purchase", "way": "trees", "share": 0.1, "pr_auc": 0.1, "log_loss": 0.2}
    runs = [{**same, "seed": s, "roc_auc": 0.5 + s / 10} for s in (0, 1)]
    (row,) = summarize(runs)
    assert (row["seeds"], row["roc_auc"]) == (2, pytest.approx([0.55, 0.5, 0.6]))
