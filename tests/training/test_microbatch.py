from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from purchasepath.datasets.batch import Batch
from purchasepath.training.microbatch import LIKE, cut_by_length, split_by_length
from tests.training.feeds import Example, make_batch

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
             float(batch.bought_P[p]), float(batch.churned_P[p]))
            for p in range(batch.points) if int(batch.row_P[p]) == row
        ]
        columns = (batch.item_BL, batch.type_BL, batch.gap_BL, batch.price_BL, batch.target_BL, batch.outcome_BL)
        events = (tuple(column[row, :length].tolist()) for column in columns)
        found.append((*events, tuple(points)))
    return found


@given(st.lists(EXAMPLES, max_size=20), st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_parts_hold_every_example_once_with_its_points(examples: list[Example], tokens_per_part: int) -> None:
    batch = make_batch(examples)
    parts = list(split_by_length(batch, tokens_per_part))
    assert sorted(row for part in parts for row in rows(part)) == sorted(rows(batch))
    assert all(part.rows == 1 or part.item_BL.numel() <= tokens_per_part for part in parts)


@given(st.lists(EXAMPLES, min_size=1, max_size=20), st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_every_part_is_cut_to_its_longest_example_and_holds_examples_of_like_length(
    examples: list[Example], tokens_per_part: int
) -> None:
    for part in split_by_length(make_batch(examples, length=15), tokens_per_part):
        length_B = (part.type_BL != 0).sum(dim=1)
        assert part.item_BL.shape[1] == int(length_B.max())
        assert int(length_B.min()) >= LIKE * int(length_B.max())


def test_parts_are_no_smaller_than_they_must_be() -> None:
    assert list(cut_by_length([1, 2, 3, 4, 5, 5, 5], 15)) == [(4, 7, 5), (1, 4, 4), (0, 1, 1)]


def test_an_empty_batch_has_no_parts() -> None:
    assert list(split_by_length(make_batch([]), 4)) == []
