"""The reader: the planned rows once each, in order, without hanging whatever happens."""

from __future__ import annotations

import threading
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from purchasepath.datasets import reader as reader_module
from purchasepath.datasets.manifest import Boundaries, Manifest, RowGroup, Statistics
from purchasepath.datasets.reader import DatasetDamagedError, ExampleReader, TableReader
from purchasepath.datasets.rows import Rows
from purchasepath.datasets.shards import num_steps
from purchasepath.errors import TooFewRowGroupsError
from purchasepath.storage.parquet import write_parquet_file
from tests.damage import flip_bit_in_page


def examples(rows: int) -> pa.Table:
    """Examples of 1 to 4 events; the first event's item is the example's number + 3, and every third has a point."""
    lengths = [1 + i % 4 for i in range(rows)]
    points = [1 if i % 3 == 0 else 0 for i in range(rows)]

    def lists(dtype: pa.DataType, values: list[list[float]]) -> pa.Array:
        return pa.array(values, pa.list_(dtype))

    return pa.table({
        "item": lists(pa.int32(), [[i + 3] * n for i, n in enumerate(lengths)]),
        "type": lists(pa.int32(), [[1] * n for n in lengths]),
        "gap": lists(pa.float32(), [[0.5] * n for n in lengths]),
        "price": lists(pa.float32(), [[0.0] * n for n in lengths]),
        "target": lists(pa.int32(), [[3] * n for n in lengths]),
        "outcome": lists(pa.int32(), [[2] * n for n in lengths]),
        "point": lists(pa.int32(), [[0] * p for p in points]),
        "idle": lists(pa.float32(), [[1.0] * p for p in points]),
        "labels": lists(pa.float32(), [[1.0, 0.0, 30.0] * p for p in points]),
        "features": lists(pa.float32(), [[float(i), 2.0] * p for i, p in enumerate(points)]),
    })


def write(directory: Path, table: pa.Table, rows_per_group: int, groups_per_file: int = 3) -> Manifest:
    """A dataset of `table` as the train split."""
    groups: list[RowGroup] = []
    rows_per_file = rows_per_group * groups_per_file
    for number, start in enumerate(range(0, table.num_rows, rows_per_file)):
        part = table.slice(start, rows_per_file)
        name = f"v/examples/split=train/part-{number:05d}.parquet"
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(part, directory / name, row_group_size=rows_per_group)
        sizes = [min(rows_per_group, part.num_rows - at) for at in range(0, part.num_rows, rows_per_group)]
        groups += [RowGroup(name, i, size, 0) for i, size in enumerate(sizes)]
    return Manifest("v", "", "simulated", {"train": tuple(groups)}, Boundaries("", "", "", 1.0), 8, 100, 9, ("a", "b"),
                    Statistics(0.0, 1.0, (0.0, 0.0), (1.0, 1.0)), "", "", ("purchase", "churn", "value"))


def rows_of(rows: Rows) -> list[int]:
    return [int(item) - 3 for item in rows.event("item")[rows.last_events]]


def equal(left: Rows, right: Rows) -> bool:
    return all(np.array_equal(getattr(left, f.name), getattr(right, f.name)) for f in fields(left))


@given(rows=st.integers(1, 60), rows_per_group=st.integers(1, 9), num_ranks=st.integers(1, 3),
       lanes=st.integers(3, 5), batch_size=st.integers(1, 20), epoch=st.integers(0, 2), resumed=st.floats(0, 1))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_files_and_memory_give_the_same_batches_with_every_row_once(
    tmp_path_factory: pytest.TempPathFactory, **drawn: Any
) -> None:
    check_every_row_once(tmp_path_factory.mktemp("ds"), **drawn)


@pytest.mark.slow
@given(rows=st.integers(1, 200), rows_per_group=st.integers(5, 40), num_ranks=st.integers(1, 8),
       lanes=st.integers(8, 11), batch_size=st.integers(1, 70), epoch=st.integers(0, 9), resumed=st.floats(0, 1))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_same_for_up_to_eight_ranks_and_forty_row_groups(
    tmp_path_factory: pytest.TempPathFactory, **drawn: Any
) -> None:
    check_every_row_once(tmp_path_factory.mktemp("ds"), **drawn)


def check_every_row_once(
    directory: Path, rows: int, rows_per_group: int, num_ranks: int, lanes: int, batch_size: int, epoch: int,
    resumed: float,
) -> None:
    """Over all ranks; a resumed reader goes on with the batches of the whole epoch, and all take the same steps."""
    table = examples(rows)
    manifest = write(directory, table, rows_per_group)
    num_ranks = min(num_ranks, len(manifest.splits["train"]))
    plan = {"num_ranks": num_ranks, "lanes": lanes, "batch_size": batch_size, "seed": 5, "epoch": epoch}
    seen: list[int] = []
    for rank in range(num_ranks):
        from_memory = list(TableReader(table, rows_per_group=rows_per_group, widths=(2, 3), rank=rank, **plan))
        with ExampleReader(manifest, directory, "train", rank=rank, **plan) as reader:
            from_files = list(reader)
            assert len(from_files) == reader.steps == num_steps(rows, batch_size)
        assert all(equal(a, b) for a, b in zip(from_files, from_memory, strict=True))
        seen += [row for batch in from_files for row in rows_of(batch)]

        start_step = round(resumed * len(from_files))
        rest = list(ExampleReader(manifest, directory, "train", rank=rank, start_step=start_step, **plan))
        assert all(equal(a, b) for a, b in zip(rest, from_files[start_step:], strict=True))
    assert sorted(seen) == list(range(rows))


def test_a_rank_without_rows_at_a_step_gets_an_empty_batch_of_the_right_width() -> None:
    reader = TableReader(examples(3), rows_per_group=1, widths=(2, 3), rank=2, num_ranks=3, lanes=3,
                         batch_size=1, seed=1, epoch=1)
    batches = list(reader)
    assert sorted(batch.rows for batch in batches) == [0, 0, 1]
    assert all(batch.features_PF.shape[1] == 2 for batch in batches)


def test_a_slow_first_block_does_not_let_the_others_pile_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write(tmp_path, examples(400), rows_per_group=1, groups_per_file=400)
    read: list[int] = []
    original = reader_module._BlockWorker.process

    def slow_first(self: object, number: int, block: object) -> None:
        if number == 0:
            time.sleep(0.3)
            assert len(read) < 10  # of 100 blocks
        original(self, number, block)  # type: ignore[arg-type]
        read.append(number)

    monkeypatch.setattr(reader_module._BlockWorker, "process", slow_first)
    batches = list(ExampleReader(manifest, tmp_path, "train", rank=0, num_ranks=1, lanes=2, batch_size=8,
                                 seed=1, epoch=1, shuffle=False))
    assert sorted(row for batch in batches for row in rows_of(batch)) == list(range(400))


def worker_threads() -> int:
    return sum(type(thread).__name__ == "WorkerThread" for thread in threading.enumerate())


def test_leaving_early_ends_the_threads(tmp_path: Path) -> None:
    manifest = write(tmp_path, examples(300), rows_per_group=2)
    arguments = {"rank": 0, "num_ranks": 1, "lanes": 2, "batch_size": 4, "seed": 1, "epoch": 1}
    with ExampleReader(manifest, tmp_path, "train", **arguments) as reader:
        batches = iter(reader)
        next(batches)
        assert worker_threads() > 0
    assert worker_threads() == 0
    for _ in ExampleReader(manifest, tmp_path, "train", **arguments):
        break
    assert worker_threads() == 0


def test_idle_workers_end_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module.thread_pool, "IO_TIMEOUT_INTERVAL_S", 30.0)
    manifest = write(tmp_path, examples(6), rows_per_group=2)
    started = time.monotonic()
    list(ExampleReader(manifest, tmp_path, "train", rank=0, num_ranks=1, lanes=2, batch_size=4, seed=1, epoch=1))
    assert worker_threads() == 0
    assert time.monotonic() - started < 15


@pytest.mark.parametrize("damage", ["missing", "cut short", "other rows", "a flipped bit"])
def test_a_damaged_file_is_an_error_that_names_it_and_ends_the_threads(tmp_path: Path, damage: str) -> None:
    manifest = write(tmp_path, examples(60), rows_per_group=2)
    file = tmp_path / manifest.splits["train"][-1].file
    if damage == "missing":
        file.unlink()
    elif damage == "cut short":
        file.write_bytes(file.read_bytes()[:100])
    elif damage == "a flipped bit":
        write_parquet_file(file, pq.ParquetFile(file).read(), row_group_size=2)
        flip_bit_in_page(file)
    else:
        pq.write_table(examples(6), file, row_group_size=3)
    reader = ExampleReader(manifest, tmp_path, "train", rank=0, num_ranks=1, lanes=2, batch_size=8, seed=1, epoch=1)
    with pytest.raises(DatasetDamagedError, match=f"{file.name}.*write the dataset again"):
        list(reader)
    assert worker_threads() == 0


def test_fewer_row_groups_than_ranks_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    manifest = write(tmp_path, examples(4), rows_per_group=2)
    with pytest.raises(TooFewRowGroupsError, match="2 row groups for 3 ranks"):
        ExampleReader(manifest, tmp_path, "train", rank=0, num_ranks=3, lanes=8, batch_size=8, seed=1, epoch=1)
