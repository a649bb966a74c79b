"""Batches from Arrow, against a loop over rows in plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from purchasepath.datasets.batch import Inputs, batch_from_arrow, batch_from_rows, inputs_from_arrow
from purchasepath.datasets.rows import COLUMNS, INPUTS, join_rows, rows_from_arrow

FEATURES = 2
LABELS = 3
INTEGERS = {"item", "type", "target", "outcome", "point"}


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, list[float]]]:
    made = []
    for _ in range(draw(st.integers(0, 6))):
        events, points = draw(st.integers(0, 5)), draw(st.integers(0, 3))
        lengths = {"point": points, "idle": points, "features": points * FEATURES, "labels": points * LABELS}
        made.append({name: draw(st.lists(st.integers(0, 99), min_size=lengths.get(name, events),
                                         max_size=lengths.get(name, events))) for name in COLUMNS})
    return made


def table(made: list[dict[str, Any]]) -> pa.Table:
    return pa.table({
        name: pa.array([row[name] for row in made], pa.list_(pa.int32() if name in INTEGERS else pa.float32()))
        for name in COLUMNS
    })


def oracle(made: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """The batch as nested lists, one row and one point at a time."""
    length = max([1, *(len(row["item"]) for row in made)])
    batch: dict[str, list[Any]] = {
        f"{name}_BL": [[*row[name], *[0] * (length - len(row[name]))] for row in made]
        for name in ("item", "type", "gap", "price", "target", "outcome")
    }
    points = [(b, p) for b, row in enumerate(made) for p in range(len(row["point"]))]
    batch["row_P"] = [b for b, _ in points]
    for name, column in (("position_P", "point"), ("idle_P", "idle")):
        batch[name] = [made[b][column][p] for b, p in points]
    for name, column, width in (("features_PF", "features", FEATURES), ("labels_PT", "labels", LABELS)):
        batch[name] = [made[b][column][p * width:(p + 1) * width] for b, p in points]
    return batch


def as_lists(batch: Inputs) -> dict[str, list[Any]]:
    return {name: getattr(batch, name).tolist() for name in batch.__dataclass_fields__}


@given(made=rows(), begin=st.integers(0, 3), cut=st.integers(0, 6))
@settings(max_examples=150, deadline=None)
def test_slices_and_chunks_give_what_a_loop_over_rows_gives(
    made: list[dict[str, Any]], begin: int, cut: int
) -> None:
    whole = table(made)
    sliced, kept = whole.slice(begin), made[begin:]
    chunked = pa.concat_tables([sliced.slice(0, cut), sliced.slice(cut)])

    assert as_lists(batch_from_arrow(sliced, FEATURES, LABELS)) == oracle(kept)
    assert as_lists(batch_from_arrow(chunked, FEATURES, LABELS)) == oracle(kept)
    for record_batch in sliced.to_batches():
        assert as_lists(batch_from_arrow(record_batch, FEATURES, LABELS)) == oracle(kept)


@given(made=rows(), cuts=st.tuples(st.integers(0, 6), st.integers(0, 6)), seed=st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_rows_cut_joined_and_shuffled_are_what_a_loop_over_rows_gives(
    made: list[dict[str, Any]], cuts: tuple[int, int], seed: int
) -> None:
    whole = rows_from_arrow(table(made), FEATURES, LABELS)
    begin, end = (min(cut, len(made)) for cut in sorted(cuts))
    kept = made[begin:end] + made[:end]
    joined = join_rows([whole.slice(begin, end), whole.slice(0, end)])
    order = np.random.default_rng(seed).permutation(len(kept))

    assert as_lists(batch_from_rows(joined)) == oracle(kept)
    assert as_lists(batch_from_rows(joined.take(order))) == oracle([kept[i] for i in order])
    assert as_lists(batch_from_rows(joined.take(order).slice(0, len(kept) // 2))) == oracle(
        [kept[i] for i in order[:len(kept) // 2]]
    )


@given(made=rows())
@settings(max_examples=50, deadline=None)
def test_inputs_are_those_of_the_batch_and_need_no_right_answers(made: list[dict[str, Any]]) -> None:
    inputs = as_lists(inputs_from_arrow(table(made).select(INPUTS), FEATURES))
    expected = oracle(made)
    assert inputs == {name: expected[name] for name in inputs}
    assert expected.keys() - inputs.keys() == {"target_BL", "outcome_BL", "labels_PT"}


def test_a_batch_without_rows_keeps_types_and_width() -> None:
    batch = batch_from_arrow(table([]), FEATURES, LABELS)
    assert (batch.rows, batch.points, batch.item_BL.shape, batch.features_PF.shape) == (0, 0, (0, 1), (0, 2))
    assert batch.item_BL.dtype == batch.position_P.dtype == torch.int64
    assert batch.gap_BL.dtype == batch.labels_PT.dtype == torch.float32


def test_lists_of_different_lengths_in_one_row_are_refused() -> None:
    row = {name: [1] for name in COLUMNS} | {"features": [1, 1], "labels": [1, 1, 1]}
    with pytest.raises(ValueError, match="column gap and of column item differ in length"):
        batch_from_arrow(table([row | {"gap": [1, 2]}]), FEATURES, LABELS)
    with pytest.raises(ValueError, match="3 values of features for 1 points with 2 each"):
        batch_from_arrow(table([row | {"features": [1, 1, 1]}]), FEATURES, LABELS)


def test_nulls_are_refused() -> None:
    row = {name: [1] for name in COLUMNS} | {"features": [1, 1], "labels": [1, 1, 1]}
    with pytest.raises(ValueError, match="column item has null"):
        batch_from_arrow(table([row | {"item": [None]}]), FEATURES, LABELS)
