"""Parquet files as we write and read them in Python: every page with its checksum, every reader verifies them.

Whoever opens a Parquet file does it here, so that no place can forget the checksums; `storage/session.py` asks the
same of Spark. Files lie anywhere (`addresses.py`). What cannot be read is told with the file's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from purchasepath.errors import DamagedFileError, UserError
from purchasepath.storage.addresses import Address, make_parent, open_address

AS_WRITTEN: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}
"""How every file of ours is written."""


class ParquetReader(pq.ParquetFile):
    """An open file whose pages are verified as they are read. Raises DamagedFileError, which names the file."""

    def __init__(self, path: Address, **options: Any) -> None:
        self.path = path
        with _named(path):
            file_system, there = open_address(path)
            super().__init__(there, filesystem=file_system, page_checksum_verification=True, **options)

    def read(self, *args: Any, **options: Any) -> pa.Table:
        with _named(self.path):
            return super().read(*args, **options)

    def read_row_group(self, *args: Any, **options: Any) -> pa.Table:
        with _named(self.path):
            return super().read_row_group(*args, **options)

    def read_row_groups(self, *args: Any, **options: Any) -> pa.Table:
        with _named(self.path):
            return super().read_row_groups(*args, **options)

    def iter_batches(self, *args: Any, **options: Any) -> Iterator[pa.RecordBatch]:
        batches = super().iter_batches(*args, **options)
        while True:
            with _named(self.path):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch


def read_parquet(path: Address, columns: Sequence[str] | None = None, *, use_threads: bool = True) -> pa.Table:
    """The columns of one file, by default all, as they stand in it: directory names add none."""
    with ParquetReader(path) as file:
        return file.read(None if columns is None else list(columns), use_threads=use_threads)


def read_footer(path: Address) -> pq.FileMetaData:
    """A file's footer. No page is read, so none is verified."""
    with _named(path):
        file_system, there = open_address(path)
        return pq.read_metadata(there, filesystem=file_system)


def read_footers(paths: Iterable[Address]) -> list[pq.FileMetaData]:
    """The footers of many files, several at a time."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(read_footer, paths))


def parquet_writer(path: Address, schema: pa.Schema, **options: Any) -> pq.ParquetWriter:
    """A new file at `path`, in a directory that is made if need be."""
    make_parent(path)
    file_system, there = open_address(path)
    return pq.ParquetWriter(there, schema, filesystem=file_system, **AS_WRITTEN, **options)


def write_parquet_file(path: Address, rows: pa.Table, *, row_group_size: int | None = None, **options: Any) -> None:
    """`rows` as one file."""
    with parquet_writer(path, rows.schema, **options) as file:
        file.write_table(rows, row_group_size=row_group_size)


@contextmanager
def _named(path: Address) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except (OSError, pa.ArrowException, ValueError, IndexError, MemoryError) as failure:
        why = str(failure).strip() or type(failure).__name__
        raise DamagedFileError(path, f"it cannot be read ({why})") from failure
