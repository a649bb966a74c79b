"""Which rank reads which rows at which step: pure arithmetic, known before the first step.

In an epoch the row groups of a split stand in an order drawn from (seed, epoch). Their rows, one after the other,
are cut into `lanes` spans of equal length; span k is lane k's. A step deals its rows out to the lanes like cards,
so its batch takes rows from `lanes` far-apart row groups. Rank r of W reads lanes k with k % W == r, in lane order.

    row groups in the epoch's order   | 4 4 4 4 | 0 0 0 0 | 7 7 | 2 2 2 2 |        10 lanes' rows shown as 2 lanes
    lanes                             |  lane 0       |   lane 1          |
    step 0 of 4                         ^ ^              ^ ^                       every lane moves on by its share
    step 1 of 4                             ^ ^              ^

What follows from it, and is tested:
- the batch of a step is the same set of rows for any number of ranks up to `lanes`;
- every rank takes the same number of steps, and no rank can run out of rows;
- each row is delivered exactly once per epoch; the sizes of batches differ by at most one row;
- the place in an epoch is one number, the step, so a resumed reader goes on with the identical batches.

A row group that two lanes share is read by both; that is at most `lanes - 1` extra reads per epoch, and it is what
keeps the lanes equal when row groups are few.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from purchasepath.errors import ConfigError, TooFewRowGroupsError

GROUPS_PER_BLOCK = 8
"""Row groups (or parts of them) that are read at once and shuffled together within a lane; with half as many, threads
lose a quarter more time to each other (docs/experiments.md)."""


@dataclass(frozen=True)
class Segment:
    """Rows start..stop-1 of one row group (its index in the split's list)."""

    group: int
    start: int
    stop: int

    @property
    def rows(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Block:
    """Consecutive segments of a lane that are read together and whose rows are shuffled together.

    `first_row` counts the lane's rows before it; `number` counts the lane's blocks.
    """

    lane: int
    number: int
    first_row: int
    segments: tuple[Segment, ...]

    @cached_property
    def rows(self) -> int:
        return sum(segment.rows for segment in self.segments)

    @cached_property
    def end_row(self) -> int:
        return self.first_row + self.rows


def num_steps(rows: int, batch_size: int) -> int:
    """Steps of one epoch over `rows` rows, on every rank; at least 1."""
    return max(1, -(-rows // batch_size))


def check_ranks(*, num_groups: int, num_ranks: int, lanes: int) -> None:
    """Raise where `num_ranks` ranks cannot share the dataset."""
    if num_ranks > lanes:
        raise ConfigError([
            f"training.ranks={num_ranks} is more than training.lanes={lanes}, the parts a batch is cut into; "
            f"set training.lanes to at least {num_ranks}"
        ])
    if num_groups < num_ranks:
        raise TooFewRowGroupsError(found=num_groups, ranks=num_ranks)


@dataclass(frozen=True)
class EpochPlan:
    """Everything about one epoch over row groups of `group_rows` rows.

    `epoch` and `seed` decide the order; without `shuffle` rows come in the order of the row groups.
    """

    group_rows: tuple[int, ...]
    lanes: int
    batch_size: int
    seed: int
    epoch: int
    shuffle: bool = True

    @cached_property
    def rows(self) -> int:
        return sum(self.group_rows)

    @cached_property
    def steps(self) -> int:
        return num_steps(self.rows, self.batch_size)

    def lanes_of(self, rank: int, num_ranks: int) -> range:
        """Lanes that rank `rank` of `num_ranks` reads, in order."""
        return range(rank, self.lanes, num_ranks)

    def rows_before(self, lane: int, step: int) -> int:
        """Rows of the lane that are delivered before `step`; the lane's share of `step` ends where the next begins."""
        dealt = step * self.rows // self.steps
        return (dealt + self.lanes - 1 - lane) // self.lanes

    def lane_rows(self, lane: int) -> int:
        return self.rows_before(lane, self.steps)

    def blocks(self, lane: int) -> list[Block]:
        """The lane's blocks in the order in which they are read."""
        segments = self._segments(lane)
        blocks: list[Block] = []
        first_row = 0
        for number, begin in enumerate(range(0, len(segments), GROUPS_PER_BLOCK)):
            block = Block(lane, number, first_row, tuple(segments[begin:begin + GROUPS_PER_BLOCK]))
            blocks.append(block)
            first_row = block.end_row
        return blocks

    def row_order(self, block: Block) -> np.ndarray | None:
        """Order in which the rows of the block (its segments one after the other) are delivered; None: as they are."""
        if not self.shuffle:
            return None
        return self._generator(1, block.lane, block.number).permutation(block.rows)

    def reading_order(self, rank: int, num_ranks: int, start_step: int = 0) -> list[Block]:
        """Blocks a rank needs from `start_step` on, ordered by the step that needs them first, then by lane."""
        needed: list[tuple[int, Block]] = []
        for lane in self.lanes_of(rank, num_ranks):
            resumed_at = self.rows_before(lane, start_step)
            needed.extend(
                (max(start_step, self._step_of(lane, block.first_row)), block)
                for block in self.blocks(lane) if block.end_row > resumed_at
            )
        return [block for _, block in sorted(needed, key=lambda n: (n[0], n[1].lane, n[1].number))]

    def _step_of(self, lane: int, row: int) -> int:
        # the lane's row is card number row * lanes + lane; it is dealt once (step + 1) * rows // steps exceeds that
        return -(-(row * self.lanes + lane + 1) * self.steps // self.rows) - 1

    def _segments(self, lane: int) -> list[Segment]:
        """The lane's span of the epoch's row groups laid end to end, cut at the borders of row groups."""
        begin = sum(self.lane_rows(k) for k in range(lane))
        end = begin + self.lane_rows(lane)
        order, ends = self._group_order
        first = int(np.searchsorted(ends, begin, side="right"))
        last = int(np.searchsorted(ends, end, side="left"))
        segments = []
        for place in range(first, min(last + 1, len(order))):
            group, rows = int(order[place]), self.group_rows[order[place]]
            position = int(ends[place]) - rows
            segment = Segment(group, max(begin - position, 0), min(end - position, rows))
            if segment.rows > 0:
                segments.append(segment)
        return segments

    @cached_property
    def _group_order(self) -> tuple[np.ndarray, np.ndarray]:
        """(row groups in the epoch's order, rows up to and including each of them)."""
        groups = len(self.group_rows)
        order = self._generator(0).permutation(groups) if self.shuffle else np.arange(groups)
        return order, np.cumsum(np.asarray(self.group_rows, dtype=np.int64)[order])

    def _generator(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed % 2**64, self.epoch, *purpose])
