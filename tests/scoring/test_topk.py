"""Top-k against a full sort in plain Python."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from purchasepath.scoring.topk import NO_ITEM, pad_lists, top_k

INF = float("inf")


def full_sort(scores: list[float], k: int, excluded: set[int]) -> list[tuple[int, float]]:
    allowed = [(-s, i) for i, s in enumerate(scores) if s != -INF and i not in excluded]
    return [(i, -s) for s, i in sorted(allowed)[:k]]


def run(scores_NI: torch.Tensor, k: int, block: int, excluded: list[list[int]] | None = None):
    padded = None
    if excluded is not None:
        offsets = np.cumsum([0, *map(len, excluded)])
        padded = pad_lists(offsets, np.array([i for row in excluded for i in row], dtype=np.int64))
    scores_NK, items_NK = top_k(lambda a, b: scores_NI[:, a:b], scores_NI.shape[1], k,
                                excluded_NE=padded, item_block=block)
    return [[(i, s) for i, s in zip(row_i, row_s, strict=True) if i != NO_ITEM]
            for row_i, row_s in zip(items_NK.tolist(), scores_NK.tolist(), strict=True)]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_equals_a_full_sort(data: st.DataObject) -> None:
    users, items = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 30))
    # few different values: ties everywhere, also at the cut and across blocks
    value = st.sampled_from([-INF, -1.5, 0.0, -0.0, 0.25, 2.0])
    rows = [data.draw(st.lists(value, min_size=items, max_size=items)) for _ in range(users)]
    excluded = [data.draw(st.lists(st.integers(0, items - 1), max_size=8)) for _ in range(users)]
    k, block = data.draw(st.integers(1, 35)), data.draw(st.integers(1, 35))
    found = run(torch.tensor(rows), k, block, excluded)
    assert found == [full_sort(row, k, set(out)) for row, out in zip(rows, excluded, strict=True)]


def test_larger_shapes_equal_a_full_sort() -> None:
    scores_NI = torch.randn(40, 3_000, generator=torch.Generator().manual_seed(1)).mul(50).round().div(50)
    excluded = [list(range(n, 3_000, 37)) for n in range(40)]
    found = run(scores_NI, 25, 256, excluded)
    assert found == [full_sort(row, 25, set(out)) for row, out in zip(scores_NI.tolist(), excluded, strict=True)]


def test_block_size_does_not_change_the_result() -> None:
    scores_NI = torch.randint(0, 4, (7, 101), generator=torch.Generator().manual_seed(2)).float()
    assert run(scores_NI, 10, 1) == run(scores_NI, 10, 13) == run(scores_NI, 10, 1_000)


def test_a_user_with_everything_excluded_gets_nothing() -> None:
    assert run(torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]), 2, 2, [[2, 0, 1], []]) == [
        [], [(0, 3.0), (1, 2.0)]]


def test_pad_lists_starts_at_the_first_offset_of_a_slice() -> None:
    padded = pad_lists(np.array([2, 2, 5]), np.array([9, 9, 4, 5, 6, 9]))
    assert padded.tolist() == [[NO_ITEM] * 3, [4, 5, 6]]
