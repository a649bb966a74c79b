"""The plan of an epoch: exactly once, equal steps, the same batches for any number of ranks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purchasepath.datasets.shards import EpochPlan, check_ranks, num_steps
from purchasepath.errors import ConfigError, TooFewRowGroupsError

group_rows = st.lists(st.integers(1, 9), min_size=1, max_size=40).map(tuple)
plans = st.builds(
    EpochPlan, group_rows=group_rows, lanes=st.integers(1, 8), batch_size=st.integers(1, 40),
    seed=st.integers(-5, 5), epoch=st.integers(0, 3), shuffle=st.booleans(),
)


def batches(plan: EpochPlan, rank: int, num_ranks: int, start_step: int = 0) -> list[list[tuple[int, int]]]:
    """Rows (row group, row) of each step, read off the plan in the slowest possible way."""
    streams: dict[int, dict[int, tuple[int, int]]] = {lane: {} for lane in plan.lanes_of(rank, num_ranks)}
    for block in plan.reading_order(rank, num_ranks, start_step):
        rows = [(s.group, row) for s in block.segments for row in range(s.start, s.stop)]
        order = plan.row_order(block)
        if order is not None:
            rows = [rows[i] for i in order]
        for number, row in enumerate(rows):
            streams[block.lane][block.first_row + number] = row
    return [
        [streams[lane][n] for lane in streams
         for n in range(plan.rows_before(lane, step), plan.rows_before(lane, step + 1))]
        for step in range(start_step, plan.steps)
    ]


@given(plan=plans, num_ranks=st.integers(1, 8))
@settings(max_examples=200, deadline=None)
def test_every_row_comes_exactly_once_and_batches_are_of_equal_size(plan: EpochPlan, num_ranks: int) -> None:
    per_rank = [batches(plan, rank, num_ranks) for rank in range(min(num_ranks, plan.lanes))]

    assert {len(steps) for steps in per_rank} == {num_steps(plan.rows, plan.batch_size)}
    every_row = [(g, r) for g, rows in enumerate(plan.group_rows) for r in range(rows)]
    assert sorted(row for steps in per_rank for batch in steps for row in batch) == every_row
    sizes = [sum(len(steps[s]) for steps in per_rank) for s in range(plan.steps)]
    assert max(sizes) <= plan.batch_size
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1


@given(plan=plans)
@settings(max_examples=100, deadline=None)
def test_the_batch_of_a_step_is_the_same_for_any_number_of_ranks(plan: EpochPlan) -> None:
    alone = [sorted(batch) for batch in batches(plan, 0, 1)]
    for num_ranks in range(2, plan.lanes + 1):
        per_rank = [batches(plan, rank, num_ranks) for rank in range(num_ranks)]
        together = [sorted(row for steps in per_rank for row in steps[s]) for s in range(plan.steps)]
        assert together == alone


@given(plan=plans, num_ranks=st.integers(1, 3), resumed=st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_a_resumed_epoch_goes_on_with_the_identical_batches(plan: EpochPlan, num_ranks: int, resumed: float) -> None:
    start_step = round(resumed * plan.steps)
    for rank in range(min(num_ranks, plan.lanes)):
        whole = batches(plan, rank, num_ranks)
        assert batches(plan, rank, num_ranks, start_step) == whole[start_step:]


@given(plan=plans, num_ranks=st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_blocks_are_read_in_the_order_in_which_steps_need_them(plan: EpochPlan, num_ranks: int) -> None:
    for rank in range(min(num_ranks, plan.lanes)):
        order = {(b.lane, b.number): i for i, b in enumerate(plan.reading_order(rank, num_ranks))}
        first_needed: dict[tuple[int, int], int] = {}
        for step in range(plan.steps):
            for lane in plan.lanes_of(rank, num_ranks):
                share = range(plan.rows_before(lane, step), plan.rows_before(lane, step + 1))
                for block in plan.blocks(lane):
                    if any(block.first_row <= n < block.end_row for n in share):
                        first_needed.setdefault((lane, block.number), step)
        by_need = [first_needed[block] for block in sorted(order, key=order.__getitem__)]
        assert by_need == sorted(by_need)


def test_the_order_is_a_function_of_seed_and_epoch_and_changes_with_each() -> None:
    def order(seed: int, epoch: int) -> list[list[tuple[int, int]]]:
        return batches(EpochPlan((8,) * 12, lanes=4, batch_size=16, seed=seed, epoch=epoch), 0, 1)

    assert order(1, 1) == order(1, 1)
    assert len({str(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


@given(plan=plans.filter(lambda plan: plan.shuffle and plan.rows >= 30 and plan.rows / plan.lanes >= 10),
       epochs=st.lists(st.integers(0, 50), min_size=2, max_size=4, unique=True))
@settings(max_examples=50, deadline=None)
def test_no_two_epochs_have_the_same_order(plan: EpochPlan, epochs: list[int]) -> None:
    orders = [batches(replace(plan, epoch=epoch), 0, 1) for epoch in (*epochs, epochs[0])]
    assert len({str(order) for order in orders}) == len(epochs)
    assert orders[0] == orders[-1]


def test_a_batch_mixes_rows_of_many_row_groups() -> None:
    plan = EpochPlan((32,) * 64, lanes=8, batch_size=64, seed=1, epoch=1)
    for batch in batches(plan, 0, 1):
        assert len({group for group, _ in batch}) >= 16


def test_without_shuffle_one_lane_delivers_the_rows_as_they_are_stored() -> None:
    plan = EpochPlan((3, 2), lanes=1, batch_size=2, seed=1, epoch=1, shuffle=False)
    assert batches(plan, 0, 1) == [[(0, 0)], [(0, 1), (0, 2)], [(1, 0), (1, 1)]]


def test_more_ranks_than_row_groups_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(TooFewRowGroupsError, match=r"1 row groups for 2 ranks.*training\.ranks=1"):
        check_ranks(num_groups=1, num_ranks=2, lanes=8)
    check_ranks(num_groups=2, num_ranks=2, lanes=8)


def test_more_ranks_than_lanes_is_an_error_that_names_the_knob() -> None:
    with pytest.raises(ConfigError, match=r"set training\.lanes to at least 9"):
        check_ranks(num_groups=100, num_ranks=9, lanes=8)
