"""Batches from Parquet: the only place that knows Petastorm.

Petastorm runs the reading: its ventilator hands out blocks of row groups, its thread pool reads them. What it cannot do
is ours: which rows when (`shards`), ragged lists (its own results path stacks Python lists and refuses lists of
different lengths), and order (its pool returns results as they finish).

    plan ─▶ ventilator ─▶ worker threads: read, shuffle ─▶ queue ─▶ put in order ─▶ lanes ─▶ step's rows ─▶ tensors
                ▲                                                        │
                └─────── a further block for each one delivered ─────────┘

A rank holds the block that each of its lanes is in and a fixed number read ahead, so memory depends neither on the
length of an epoch nor on how slow the slowest read is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from petastorm.workers_pool import EmptyResultError
from petastorm.workers_pool.thread_pool import ThreadPool
from petastorm.workers_pool.ventilator import ConcurrentVentilator
from petastorm.workers_pool.worker_base import WorkerBase

from purchasepath.datasets.batch import COLUMNS, Batch, batch_from_arrow, join_rows
from purchasepath.datasets.manifest import Manifest, RowGroup
from purchasepath.datasets.shards import Block, EpochPlan, check_ranks
from purchasepath.errors import UserError

WORKERS = 2
WINDOW = 2
"""Blocks read ahead, beyond one per worker and one per lane."""
OPEN_FILES = 16
"""Parquet files a worker keeps open: opening one parses its whole footer."""


class DatasetDamagedError(UserError):
    """A file of the dataset that cannot be read, or holds something else than the manifest says."""


class Reader(Protocol):
    """The batches of one rank in one epoch."""

    steps: int

    def __iter__(self) -> Iterator[Batch]: ...
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
        self._num_features = manifest.num_features
        self._blocks = _OrderedBlocks(
            self._plan.reading_order(*self._share), _Source(self._plan, groups, Path(directory)), workers,
            window=WINDOW + len(self._plan.lanes_of(rank, num_ranks)),
        )

    @property
    def steps(self) -> int:
        return self._plan.steps

    def __iter__(self) -> Iterator[Batch]:
        with self:
            yield from _batches(self._plan, *self._share, iter(self._blocks), self._num_features)

    def __enter__(self) -> ExampleReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._blocks.close()


class TableReader:
    """The twin in memory: the same plan, the same batches, from a table cut into row groups of `rows_per_group`."""

    def __init__(
        self, table: pa.Table, *, rows_per_group: int, num_features: int, rank: int = 0, num_ranks: int = 1,
        lanes: int, batch_size: int, seed: int, epoch: int, start_step: int = 0, shuffle: bool = True,
    ) -> None:
        starts = range(0, table.num_rows, rows_per_group)
        self._groups = [table.slice(start, rows_per_group) for start in starts]
        check_ranks(num_groups=len(self._groups), num_ranks=num_ranks, lanes=lanes)
        self._plan = EpochPlan(tuple(g.num_rows for g in self._groups), lanes, batch_size, seed, epoch, shuffle)
        self._share = (rank, num_ranks, start_step)
        self._num_features = num_features

    @property
    def steps(self) -> int:
        return self._plan.steps

    def __iter__(self) -> Iterator[Batch]:
        order = self._plan.reading_order(*self._share)
        tables = ((block, _arrange(self._plan, block, [self._groups[s.group] for s in block.segments]))
                  for block in order)
        return _batches(self._plan, *self._share, tables, self._num_features)

    def __enter__(self) -> TableReader:
        return self

    def __exit__(self, *error: Any) -> None:
        return None


def _batches(
    plan: EpochPlan, rank: int, num_ranks: int, start_step: int, blocks: Iterator[tuple[Block, pa.Table]],
    num_features: int,
) -> Iterator[Batch]:
    """Batches of the steps, from blocks in reading order."""
    lanes = plan.lanes_of(rank, num_ranks)
    queues: dict[int, deque[tuple[Block, pa.Table]]] = {lane: deque() for lane in lanes}
    empty: pa.Table | None = None
    for step in range(start_step, plan.steps):
        slices: list[pa.Table] = []
        for lane in lanes:
            begin, end = plan.rows_before(lane, step), plan.rows_before(lane, step + 1)
            while begin < end:
                queue = queues[lane]
                while not queue:  # blocks come in the order of need, so this ends
                    block, table = next(blocks)
                    queues[block.lane].append((block, table))
                block, table = queue[0]
                stop = min(end, block.end_row)
                slices.append(table.slice(begin - block.first_row, stop - begin))
                begin = stop
                if stop == block.end_row:
                    queue.popleft()
        if not slices:
            empty = _no_rows() if empty is None else empty
            slices = [empty]
        yield batch_from_arrow(join_rows(slices), num_features)


def _arrange(plan: EpochPlan, block: Block, groups: Sequence[pa.Table]) -> pa.Table:
    """The block's rows in the order of delivery, given the whole row groups of its segments."""
    rows = join_rows([g.slice(s.start, s.rows) for g, s in zip(groups, block.segments, strict=True)])
    order = plan.row_order(block)
    return rows if order is None else rows.take(pa.array(order))


def _no_rows() -> pa.Table:
    return pa.table({name: pa.array([], pa.list_(pa.int32())) for name in COLUMNS})


class _Source:
    """What a worker needs to read a block."""

    def __init__(self, plan: EpochPlan, groups: Sequence[RowGroup], directory: Path) -> None:
        self.plan, self.groups, self.directory = plan, groups, directory


class _BlockWorker(WorkerBase):
    """Reads blocks as Arrow tables; publishes (number in reading order, table or the exception)."""

    def __init__(self, worker_id: int, publish: Any, source: _Source) -> None:
        super().__init__(worker_id, publish, source)
        self._open: dict[str, pq.ParquetFile] = {}

    def process(self, number: int, block: Block) -> None:
        try:
            source: _Source = self.args
            tables = [self._read(source.groups[s.group], source.directory) for s in block.segments]
            result: pa.Table | Exception = _arrange(source.plan, block, tables)
        except Exception as failure:  # handed to the reading thread, which raises it
            result = failure
        # outside the try: publishing raises Petastorm's own request to stop, which its pool must see
        self.publish_func((number, result))

    def _read(self, group: RowGroup, directory: Path) -> pa.Table:
        try:
            # Petastorm runs one thread per worker; Arrow's own pool on top would only fight over the cores
            table = self._file(directory / group.file).read_row_group(
                group.row_group, columns=list(COLUMNS), use_threads=False)
        except (OSError, pa.ArrowException, IndexError, KeyError) as failure:
            raise DatasetDamagedError(
                f"row group {group.row_group} of {directory / group.file} cannot be read ({failure}); "
                "write the dataset again: ./spark-submit.sh dataset"
            ) from failure
        if table.num_rows != group.rows:
            raise DatasetDamagedError(
                f"row group {group.row_group} of {directory / group.file} has {table.num_rows} rows where the manifest "
                f"says {group.rows}; write the dataset again: ./spark-submit.sh dataset"
            )
        return table

    def _file(self, path: Path) -> pq.ParquetFile:
        name = str(path)
        if name not in self._open:
            if len(self._open) >= OPEN_FILES:
                self._open.pop(next(iter(self._open))).close()
            self._open[name] = pq.ParquetFile(name, memory_map=False)
        return self._open[name]


class _Ventilator(ConcurrentVentilator):
    """Petastorm's ventilator, but a block leaves the window when it is delivered, not when it is read.

    With the original, a slow first block would let all others be read and pile up behind it.
    """

    def processed_item(self) -> None:
        """Called by the pool; too early for us."""

    def delivered(self) -> None:
        super().processed_item()


class _OrderedBlocks:
    """Blocks read by Petastorm's pool, in the order given; iterate once."""

    def __init__(self, order: Sequence[Block], source: _Source, workers: int, window: int) -> None:
        self._order = order
        in_flight = window + workers
        # every block in flight makes two messages (its table, and that it is done), so no worker ever waits to put
        # one: a worker of Petastorm that waits to report a failure would not notice that the pool is to stop
        self._pool = ThreadPool(workers, results_queue_size=2 * in_flight + workers)
        self._ventilator = _Ventilator(
            self._pool.ventilate, [{"number": i, "block": block} for i, block in enumerate(order)], iterations=1,
            max_ventilation_queue_size=in_flight, ventilation_interval=0.002,
        )
        self._source, self._started, self._closed = source, False, False

    def __iter__(self) -> Iterator[tuple[Block, pa.Table]]:
        if self._started or self._closed:
            raise RuntimeError("a reader is iterated once; make a new one for the next epoch")
        self._started = True
        if not self._order:
            return
        self._pool.start(_BlockWorker, self._source, ventilator=self._ventilator)
        waiting: dict[int, pa.Table | Exception] = {}
        for number, block in enumerate(self._order):
            while number not in waiting:
                try:
                    found, result = self._pool.get_results()
                except EmptyResultError:
                    # the pool compares its counts without a lock and may think it is done while the last block is
                    # being handed out; we know what is still to come
                    continue
                waiting[found] = result
            table = waiting.pop(number)
            if isinstance(table, Exception):
                self.close()
                raise table
            self._ventilator.delivered()
            yield block, table

    def close(self) -> None:
        """End the worker threads and wait for them."""
        if self._closed:
            return
        self._closed = True
        if self._started:
            self._pool.stop()
            self._pool.join()
