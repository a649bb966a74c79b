"""Batches from Parquet: the only place that knows Petastorm.

Petastorm runs the reading: its ventilator hands out blocks of row groups, its thread pool reads them. What it cannot do
is ours: which rows when (`shards`), ragged lists (its own results path stacks Python lists and refuses lists of
different lengths), and order (its pool returns results as they finish).

    plan ─▶ ventilator ─▶ worker threads: read, shuffle ─▶ queue ─▶ put in order ─▶ lanes ─▶ a step's rows
                ▲                                                        │
                └─────── a further block for each one delivered ─────────┘

A rank holds the block that each of its lanes is in and a fixed number read ahead, so memory depends neither on the
length of an epoch nor on how slow the slowest read is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from petastorm.workers_pool import thread_pool
from petastorm.workers_pool.ventilator import Ventilator
from petastorm.workers_pool.worker_base import WorkerBase

from purchasepath.datasets.manifest import DatasetDamagedError, Manifest, RowGroup
from purchasepath.datasets.rows import COLUMNS, Rows, join_rows, no_rows, rows_from_arrow
from purchasepath.datasets.shards import Block, EpochPlan, check_ranks
from purchasepath.errors import DamagedFileError
from purchasepath.storage.parquet import ParquetReader

WORKERS = 2
WINDOW = 2
"""Blocks read ahead, beyond one per worker and one per lane."""
OPEN_FILES = 16
"""Parquet files a worker keeps open."""

thread_pool.IO_TIMEOUT_INTERVAL_S = 0.02
"""How often a worker of Petastorm that has nothing to read looks whether it is to end. At its own 1 ms the two workers
of a training rank, which wait nearly always, take a tenth of a core."""


class Reader(Protocol):
    """The batches of one rank in one epoch, packed: who computes on them pads them, part by part."""

    steps: int

    def __iter__(self) -> Iterator[Rows]: ...
    def __enter__(self) -> Reader: ...
    def __exit__(self, *error: Any) -> None: ...


class ExampleReader:
    """The planned batches of rank `rank` of `num_ranks` in one epoch, from `start_step` on; iterate once.

    `steps` is the number of steps of the whole epoch, the same on every rank. A rank whose share of a step is empty
    yields a batch without rows. Leaving the `with` block, or the loop, ends the worker threads.
    """

    def __init__(
        self, manifest: Manifest, directory: str | Path, split: str, *, rank: int, num_ranks: int, lanes: int,
        batch_size: int, seed: int, epoch: int, start_step: int = 0, shuffle: bool = True, workers: int = WORKERS,
    ) -> None:
        groups = manifest.splits[split]
        # a small validation split may be one row group; its rows are dealt out to the lanes all the same
        check_ranks(num_groups=len(groups) if split == "train" else num_ranks, num_ranks=num_ranks, lanes=lanes)
        self._plan = EpochPlan(tuple(g.rows for g in groups), lanes, batch_size, seed, epoch, shuffle)
        self._share = (rank, num_ranks, start_step)
        self._widths = (manifest.num_features, len(manifest.label_names))
        source = _Source(self._plan, groups, Path(directory), self._widths)
        self._blocks = _OrderedBlocks(
            self._plan.reading_order(*self._share), source, workers,
            window=WINDOW + len(self._plan.lanes_of(rank, num_ranks)),
        )

    @property
    def steps(self) -> int:
        return self._plan.steps

    def __iter__(self) -> Iterator[Rows]:
        with self:
            yield from _batches(self._plan, *self._share, iter(self._blocks), self._widths)

    def __enter__(self) -> ExampleReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._blocks.close()


class TableReader:
    """The twin in memory: the same plan, the same batches, from a table cut into row groups of `rows_per_group`."""

    def __init__(
        self, table: pa.Table, *, rows_per_group: int, widths: tuple[int, int], rank: int = 0, num_ranks: int = 1,
        lanes: int, batch_size: int, seed: int, epoch: int, start_step: int = 0, shuffle: bool = True,
    ) -> None:
        self._rows, self._rows_per_group = rows_from_arrow(table, *widths), rows_per_group
        sizes = [min(rows_per_group, table.num_rows - start) for start in range(0, table.num_rows, rows_per_group)]
        check_ranks(num_groups=len(sizes), num_ranks=num_ranks, lanes=lanes)
        self._plan = EpochPlan(tuple(sizes), lanes, batch_size, seed, epoch, shuffle)
        self._share = (rank, num_ranks, start_step)
        self._widths = widths

    @property
    def steps(self) -> int:
        return self._plan.steps

    def __iter__(self) -> Iterator[Rows]:
        order = self._plan.reading_order(*self._share)
        blocks = (
            (block, _arrange(self._plan, block, self._rows, [s.group * self._rows_per_group for s in block.segments]))
            for block in order
        )
        return _batches(self._plan, *self._share, blocks, self._widths)

    def __enter__(self) -> TableReader:
        return self

    def __exit__(self, *error: Any) -> None:
        return None


def _batches(
    plan: EpochPlan, rank: int, num_ranks: int, start_step: int, blocks: Iterator[tuple[Block, Rows]],
    widths: tuple[int, int],
) -> Iterator[Rows]:
    """Batches of the steps, from blocks in reading order; `widths`: how many features and labels a point has."""
    lanes = plan.lanes_of(rank, num_ranks)
    queues: dict[int, deque[tuple[Block, Rows]]] = {lane: deque() for lane in lanes}
    empty = no_rows(*widths)
    for step in range(start_step, plan.steps):
        parts: list[Rows] = []
        for lane in lanes:
            begin, end = plan.rows_before(lane, step), plan.rows_before(lane, step + 1)
            while begin < end:
                queue = queues[lane]
                while not queue:  # blocks come in the order of need, so this ends
                    block, rows = next(blocks)
                    queues[block.lane].append((block, rows))
                block, rows = queue[0]
                stop = min(end, block.end_row)
                parts.append(rows.slice(begin - block.first_row, stop - block.first_row))
                begin = stop
                if stop == block.end_row:
                    queue.popleft()
        yield join_rows(parts or [empty])


def _arrange(plan: EpochPlan, block: Block, rows: Rows, starts: Sequence[int]) -> Rows:
    """The block's rows in the order of delivery; the row group of segment i begins at row `starts[i]` of `rows`."""
    parts = zip(starts, block.segments, strict=True)
    wanted = np.concatenate([np.arange(start + s.start, start + s.stop) for start, s in parts])
    order = plan.row_order(block)
    return rows.take(wanted if order is None else wanted[order])


class _Source:
    """What a worker needs to read a block."""

    def __init__(self, plan: EpochPlan, groups: Sequence[RowGroup], directory: Path, widths: tuple[int, int]) -> None:
        self.plan, self.groups, self.directory, self.widths = plan, groups, directory, widths
        self.footers: dict[str, pq.FileMetaData] = {}  # of files seen, by path, shared by the workers


class _BlockWorker(WorkerBase):
    """Reads blocks; publishes (number in reading order, its rows or the exception).

    Without a block it does nothing: it was woken to see that the pool is to stop.
    """

    def __init__(self, worker_id: int, publish: Any, source: _Source) -> None:
        super().__init__(worker_id, publish, source)
        self._open: dict[str, ParquetReader] = {}

    def process(self, number: int, block: Block | None) -> None:
        if block is None:
            return
        try:
            result: Rows | Exception = _arrange(self.args.plan, block, *self._groups([s.group for s in block.segments]))
        except Exception as failure:  # handed to the reading thread, which raises it
            result = failure
        # outside the try: publishing raises Petastorm's own request to stop, which its pool must see
        self.publish_func((number, result))

    def _groups(self, numbers: Sequence[int]) -> tuple[Rows, list[int]]:
        """The rows of these row groups, and where each begins in them.

        The row groups of one file are read together: a call costs as much as a hundred rows.
        """
        source: _Source = self.args
        by_file: dict[str, list[int]] = {}
        for number in numbers:
            by_file.setdefault(source.groups[number].file, []).append(number)
        tables: list[pa.Table] = []
        starts: dict[int, int] = {}
        end = 0
        for name, mine in by_file.items():
            groups = [source.groups[number] for number in mine]
            tables.append(self._read(source.directory / name, groups))
            for number, group in zip(mine, groups, strict=True):
                starts[number], end = end, end + group.rows
        return rows_from_arrow(pa.concat_tables(tables), *source.widths), [starts[number] for number in numbers]

    def _read(self, path: Path, groups: Sequence[RowGroup]) -> pa.Table:
        numbers = [group.row_group for group in groups]
        try:
            file = self._file(path)
            rows = [file.metadata.row_group(number).num_rows for number in numbers]
            # Petastorm runs one thread per worker; Arrow's own pool on top would only fight over the cores
            table = file.read_row_groups(numbers, columns=list(COLUMNS), use_threads=False)
        except (OSError, pa.ArrowException, IndexError, KeyError, DamagedFileError) as failure:
            raise DatasetDamagedError(
                f"row groups {numbers} of {path} cannot be read ({failure}); "
                "write the dataset again: ./spark-submit.sh dataset"
            ) from failure
        if rows != [group.rows for group in groups]:
            raise DatasetDamagedError(
                f"row groups {numbers} of {path} have {rows} rows where the manifest says "
                f"{[group.rows for group in groups]}; write the dataset again: ./spark-submit.sh dataset"
            )
        return table

    def _file(self, path: Path) -> ParquetReader:
        name, footers = str(path), self.args.footers
        if name not in self._open:
            if len(self._open) >= OPEN_FILES:
                self._open.pop(next(iter(self._open))).close()
            self._open[name] = ParquetReader(name, memory_map=False, metadata=footers.get(name))
            footers[name] = self._open[name].metadata
        return self._open[name]


class _Ventilator(Ventilator):
    """Hands out `in_flight` blocks at first and a further one for each that is delivered.

    Petastorm's own one hands out the next block when one was read: a slow first block would let all others be read and
    pile up behind it. It also looks for room 500 times a second, in a thread of its own.
    """

    def __init__(self, ventilate: Callable[..., None], order: Sequence[Block], in_flight: int) -> None:
        super().__init__(ventilate)
        self._coming = enumerate(order)
        self._left = len(order)
        self._in_flight = in_flight

    def start(self) -> None:
        for _ in range(self._in_flight):
            self.delivered()

    def delivered(self) -> None:
        if self._left:
            number, block = next(self._coming)
            self._left -= 1
            self._ventilate_fn(number=number, block=block)

    def processed_item(self) -> None:
        """Called by the pool when a block was read; too early for us."""

    def completed(self) -> bool:
        return not self._left

    def reset(self) -> None:
        raise NotImplementedError("a reader is iterated once")

    def stop(self) -> None:
        self._left = 0


class _OrderedBlocks:
    """Blocks read by Petastorm's pool, in the order given; iterate once."""

    def __init__(self, order: Sequence[Block], source: _Source, workers: int, window: int) -> None:
        self._order = order
        in_flight = window + workers
        # every block in flight makes two messages (its rows, and that it is done), so no worker ever waits to put
        # one: a worker of Petastorm that waits to report a failure would not notice that the pool is to stop
        self._pool = thread_pool.ThreadPool(workers, results_queue_size=2 * in_flight + workers)
        self._ventilator = _Ventilator(self._pool.ventilate, order, in_flight)
        self._source, self._started, self._closed = source, False, False

    def __iter__(self) -> Iterator[tuple[Block, Rows]]:
        if self._started or self._closed:
            raise RuntimeError("a reader is iterated once; make a new one for the next epoch")
        self._started = True
        if not self._order:
            return
        self._pool.start(_BlockWorker, self._source, ventilator=self._ventilator)
        waiting: dict[int, Rows | Exception] = {}
        for number, block in enumerate(self._order):
            while number not in waiting:
                found, result = self._pool.get_results()
                waiting[found] = result
            rows = waiting.pop(number)
            if isinstance(rows, Exception):
                self.close()
                raise rows
            self._ventilator.delivered()
            yield block, rows

    def close(self) -> None:
        """End the worker threads and wait for them."""
        if self._closed:
            return
        self._closed = True
        if self._started and self._order:
            self._pool.stop()
            for _ in range(self._pool.workers_count):
                self._pool.ventilate(number=-1, block=None)
            self._pool.join()
