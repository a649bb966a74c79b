"""EXAMPLES as Parquet row groups of exactly `rows_per_group` rows, written by Spark's tasks.

    examples ── hash ──▶ files, each sorted by hash: full row groups ── left-over rows ──▶ one last file per split

Rows go to files by a hash of (seed, example), so users are spread evenly, and stand in order of that hash. The number
of files follows from the number of rows. The same examples therefore give the same files, bit for bit, on any
number of partitions, and a task that is tried again overwrites its file with an identical one. No row passes
the driver.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyspark.sql.functions as F
from pyspark.sql import DataFrame

from purchasepath.datasets.manifest import FILE_NAME, SPLITS, DatasetMissingError, Manifest, RowGroup
from purchasepath.storage.parquet import parquet_writer, read_footer, write_parquet_file
from purchasepath.tables.catalog import EXAMPLES, VOCABULARY
from purchasepath.tables.types import Table

ROWS_PER_FILE = 65_536
PARQUET = {"use_dictionary": False, "write_statistics": False}
"""zstd takes 171 bytes an example of mean length 12 where snappy takes 228 and lz4 267 (docs/experiments.md)."""

_ORDER = ["split", "bucket", "shuffle", "user_id", "example_id"]


def write_examples(
    examples: DataFrame, rows: dict[str, int], directory: Path, version: str, *, rows_per_group: int, seed: int
) -> None:
    """Write `examples` (EXAMPLES with user_id; `rows` of them per split) below <directory>/<version>/examples."""
    target = directory / version / "examples"
    for split in SPLITS:
        (target / f"split={split}").mkdir(parents=True, exist_ok=True)
    files = {split: max(1, -(-rows.get(split, 0) // max(ROWS_PER_FILE, rows_per_group))) for split in SPLITS}
    num_files = F.element_at(F.create_map(*[F.lit(x) for pair in files.items() for x in pair]), F.col("split"))
    shuffle = F.xxhash64(F.lit(seed), "example_id")
    placed = examples.withColumn("shuffle", shuffle).withColumn("bucket", F.pmod("shuffle", num_files).cast("int"))
    schema = placed.schema
    left_over = (
        placed.repartition(sum(files.values()), "split", "bucket").sortWithinPartitions(*_ORDER)
        .mapInArrow(_writer(str(target), rows_per_group, last=False), schema)
    )
    last = (
        left_over.withColumn("bucket", num_files)  # the last file's number: buckets count from 0
        .repartition(1).sortWithinPartitions(*_ORDER)
        .mapInArrow(_writer(str(target), rows_per_group, last=True), schema)
    )
    last.write.format("noop").mode("overwrite").save()
    for unfinished in target.glob("*/*.unfinished"):
        unfinished.unlink()


def write_vocabulary(vocabulary: DataFrame, directory: Path, version: str) -> Path:
    """Write VOCABULARY, in order of its ids, as one file; its path."""
    return write_items(vocabulary, VOCABULARY, directory / version / "vocabulary.parquet")


def write_items(rows: DataFrame, table: Table, file: Path) -> Path:
    """Write a table of items, in order of their ids, as one file; its path."""
    file.parent.mkdir(parents=True, exist_ok=True)
    schema = table.arrow_schema()

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with _AtomicParquet(str(file), schema) as out:
            for batch in batches:
                if batch.num_rows:
                    out.write(pa.Table.from_batches([batch]))
        return iter(())

    ordered = table.select(rows).repartition(1).sortWithinPartitions("id")
    ordered.mapInArrow(write, ordered.schema).write.format("noop").mode("overwrite").save()
    if not file.exists():  # without rows there may be no task
        write_parquet_file(file, schema.empty_table())
    return file


def read_row_groups(directory: Path, version: str, *, rows_per_group: int) -> dict[str, tuple[RowGroup, ...]]:
    """Row groups of each split, as the footers tell, in order of files.

    Raises RuntimeError where one that is not the last has another number of rows: a defect of the writer.
    """
    splits = {}
    for split in SPLITS:
        groups: list[RowGroup] = []
        for file in sorted((directory / version / "examples" / f"split={split}").glob("*.parquet")):
            footer = read_footer(file)
            groups += [
                RowGroup(file.relative_to(directory).as_posix(), i, footer.row_group(i).num_rows,
                         footer.row_group(i).total_byte_size)
                for i in range(footer.num_row_groups)
            ]
        uneven = [g for g in groups[:-1] if g.rows != rows_per_group]
        if uneven:
            raise RuntimeError(f"row groups of {rows_per_group} rows were written, and {uneven[0]} was read back")
        splits[split] = tuple(groups)
    return splits


def publish(manifest: Manifest, directory: Path) -> None:
    """Switch the dataset to `manifest`; keep the version before it, for who still reads it, and remove older ones."""
    previous = None
    if (directory / FILE_NAME).exists():
        try:
            previous = Manifest.load(directory).version
        except DatasetMissingError:
            previous = None  # an unreadable manifest is being replaced; its version cannot be in use
    manifest.save(directory)
    for version in directory.iterdir():
        if version.is_dir() and (version / "examples").is_dir() and version.name not in (manifest.version, previous):
            rmtree(version, ignore_errors=True)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class _AtomicParquet:
    """A Parquet file that appears under its name when it is complete, and only if something was written."""

    def __init__(self, file: str, schema: pa.Schema) -> None:
        self._file, self._schema = file, schema
        self._unfinished = f"{file}.{os.getpid()}.{os.urandom(4).hex()}.unfinished"
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> _AtomicParquet:
        return self

    def write(self, table: pa.Table) -> None:
        """One row group of all rows of `table`."""
        if self._writer is None:
            self._writer = parquet_writer(self._unfinished, self._schema, **PARQUET)
        self._writer.write_table(table.cast(self._schema), row_group_size=max(1, table.num_rows))

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self._writer is None:
            return
        self._writer.close()
        if kind is None:
            os.replace(self._unfinished, self._file)
        else:
            os.unlink(self._unfinished)


def _writer(
    target: str, rows_per_group: int, *, last: bool
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """What a task does with its sorted rows: full row groups to files, what is left over to the next stage.

    In the `last` stage nothing is left over: the final row group takes what there is.
    """
    kept = [name for name in EXAMPLES.names if name != "split"]
    schema = pa.schema([EXAMPLES.arrow_schema().field(name) for name in kept])

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for (split, bucket), parts in _by_file(batches):
            with _AtomicParquet(f"{target}/split={split}/part-{bucket:05d}.parquet", schema) as out:
                pending: list[pa.Table] = []
                for part in parts:
                    pending.append(part)
                    if sum(p.num_rows for p in pending) < rows_per_group:
                        continue
                    rows = pa.concat_tables(pending)
                    full = rows.num_rows - rows.num_rows % rows_per_group
                    for start in range(0, full, rows_per_group):
                        out.write(rows.slice(start, rows_per_group).select(kept))
                    pending = [rows.slice(full)]
                rest = pa.concat_tables(pending)
                if last and rest.num_rows:
                    out.write(rest.select(kept))
                elif rest.num_rows:
                    yield from rest.combine_chunks().to_batches()

    return write


def _by_file(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[tuple[str, int], Iterator[pa.Table]]]:
    """Runs of equal (split, bucket) in the sorted rows, each with an iterator over its tables.

    An iterator must be used up before the next run is asked for.
    """
    pieces = _pieces(batches)
    waiting = next(pieces, None)
    while waiting is not None:
        key = waiting[0]

        def run(key: tuple[str, int] = key) -> Iterator[pa.Table]:
            nonlocal waiting
            while waiting is not None and waiting[0] == key:
                yield waiting[1]
                waiting = next(pieces, None)

        yield key, run()


def _pieces(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[tuple[str, int], pa.Table]]:
    for batch in batches:
        if not batch.num_rows:
            continue
        table = pa.Table.from_batches([batch])
        split, bucket = table.column("split").combine_chunks(), table.column("bucket").to_numpy()
        codes = pc.index_in(split, pa.array(SPLITS)).to_numpy()
        starts = np.flatnonzero((np.diff(codes, prepend=-1) != 0) | (np.diff(bucket, prepend=-1) != 0))
        for start, stop in zip(starts, [*starts[1:], table.num_rows], strict=True):
            yield (SPLITS[codes[start]], int(bucket[start])), table.slice(start, stop - start)
