from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise, product

from hypothesis import given, settings
from hypothesis import strategies as st

from purchasepath.datasets.batch import Batch
from purchasepath.training.microbatch import PART_TOKENS, cut_by_length, split_by_length
from tests.training.feeds import Example, make_batch, make_rows

EXAMPLES = st.builds(
    Example,
    items=st.lists(st.integers(3, 30), min_size=1, max_size=12),
    bought=st.sampled_from([None, 0.0, 1.0]),
    features=st.tuples(*[st.integers(0, 5).map(float)] * 3),
)


def rows(batch: Batch) -> list[tuple[object, ...]]:
    """Each example of the batch as a value, with its points."""
    found = []
    for row in range(batch.rows):
        length = int((batch.type_BL[row] != 0).sum())
        points = [
            (int(batch.position_P[p]), float(batch.idle_P[p]), tuple(batch.features_PF[p].tolist()),
             tuple(batch.labels_PT[p].tolist()))
            for p in range(batch.points) if int(batch.row_P[p]) == row
        ]
        columns = (batch.item_BL, batch.type_BL, batch.gap_BL, batch.price_BL, batch.target_BL, batch.outcome_BL)
        events = (tuple(column[row, :length].tolist()) for column in columns)
        found.append((*events, tuple(points)))
    return found


@given(st.lists(EXAMPLES, max_size=20), st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_parts_hold_every_example_once_with_its_points(examples: list[Example], tokens_per_part: int) -> None:
    parts = list(split_by_length(make_rows(examples), tokens_per_part))
    assert sorted(row for part in parts for row in rows(part)) == sorted(rows(make_batch(examples)))
    assert all(part.rows == 1 or part.item_BL.numel() <= tokens_per_part for part in parts)


@given(st.lists(EXAMPLES, min_size=1, max_size=20), st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_every_part_is_cut_to_its_longest_example(examples: list[Example], tokens_per_part: int) -> None:
    for part in split_by_length(make_rows(examples), tokens_per_part):
        assert part.item_BL.shape[1] == int((part.type_BL != 0).sum(dim=1).max())


def cost(parts: Iterable[tuple[int, int, int]]) -> int:
    return sum((end - start) * length + PART_TOKENS for start, end, length in parts)


def cheapest(rising: list[int], tokens_per_part: int) -> int:
    """What the cheapest of all groupings of neighbouring lengths costs, each tried."""
    lengths = sorted(set(rising))
    found = []
    for cuts in product((False, True), repeat=len(lengths) - 1):
        borders = [0, *(n + 1 for n, is_cut in enumerate(cuts) if is_cut), len(lengths)]
        total = 0
        for first, last in pairwise(borders):
            rows, longest = sum(length in lengths[first:last] for length in rising), lengths[last - 1]
            total += rows * longest + -(-rows // max(1, tokens_per_part // longest)) * PART_TOKENS
        found.append(total)
    return min(found)


@given(st.lists(st.sampled_from([1, 2, 30, 400, 700, 750, 800]), min_size=1, max_size=12).map(sorted),
       st.integers(1, 4000))
@settings(max_examples=60, deadline=None)
def test_no_grouping_of_lengths_is_cheaper(rising: list[int], tokens_per_part: int) -> None:
    parts = list(cut_by_length(rising, tokens_per_part))
    assert cost(parts) <= cheapest(rising, tokens_per_part)
    assert [place for start, end, _ in reversed(parts) for place in range(start, end)] == list(range(len(rising)))


def test_an_empty_batch_has_no_parts() -> None:
    assert list(split_by_length(make_rows([]), 4)) == []
