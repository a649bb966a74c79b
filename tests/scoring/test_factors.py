"""Ranks that latent factors give, against every history ranked by itself."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa

from purchasepath.models.factors import Histories, LatentFactors
from purchasepath.scoring.counting import RankCounts
from purchasepath.scoring.factors import add_answers
from tests.tiny_bundle import tiny_manifest


def test_targets_are_ranked_after_what_was_known_of_the_history() -> None:
    factors_ID = np.random.default_rng(1).normal(size=(8, 3))
    factors_ID[[0, 1, 2, 7]] = 0.0  # 7 was not fitted
    factors = LatentFactors(factors_ID)
    popular_I = np.array([-np.inf, -np.inf, -np.inf, 5, 9, 9, 1, 0])
    items, targets = [[1, 3, 4, 3], [7], [5, 6]], [[4, 5, 2, 0], [5], [7, 3]]
    counts = RankCounts(tiny_manifest(8, num_cold=1), (1, 3))
    rows = pa.RecordBatch.from_pydict({"item": pa.array(items, pa.list_(pa.int32())), "target": targets,
                                       "bucket": [1, 5, 5]})
    add_answers(rows.slice(0, 1), factors, popular_I, counts)
    add_answers(rows.slice(1), factors, popular_I, counts)  # a slice keeps the others' values behind its own

    def rank(known: list[int], target: int) -> int:
        scores = factors.scores(Histories(np.array([known]), np.ones((1, len(known)))))[0]
        return 1 + sum(scores[i] >= scores[target] for i in range(8) if i != target)

    # nothing known: 4 and 5 tie for the first place by popularity, so both are second; 2 and 7 are never found
    expected = [2, rank([3], 5), 4, 2, 4, rank([5, 6], 3)]
    found = Counter[int]()
    for kind, _, _, key, _, n in counts.rows():
        found[key] += n if kind == "rank" else 0
    found = +found
    assert found == {r: [min(r, 4) for r in expected].count(r) for r in {min(r, 4) for r in expected}}
    assert {(b, key): n for kind, _, b, key, _, n in counts.rows() if kind == "cold"} == {(1, 4): 1, (5, 4): 1}  # 2, 7
    assert counts.counts_GK["rank"].sum(axis=1)[[1, 5]].tolist() == [3, 3]
    shown = {k: {key for kind, at, _, key, _, _ in counts.rows() if (kind, at) == ("shown", k)} for k in (1, 3)}
    assert {4} <= shown[1] <= shown[3]
    assert not shown[3] & {0, 1, 2, 7}
