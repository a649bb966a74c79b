"""The data files of tables: what they are, where they lie, how many rows they have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, unquote

from pyspark.sql import DataFrame

from purchasepath.errors import PublishError
from purchasepath.storage.addresses import Address, address_of_uri
from purchasepath.storage.parquet import read_footers
from purchasepath.tables.types import Table

Partition = Mapping[str, Any]
"""Partition column → value, for every partition column of a table."""


@dataclass(frozen=True)
class DataFile:
    """A Parquet file of a table: where it lies now, its partition (`a=1/b=x`, '' without partitions), and its size
    where that is known."""

    address: str
    partition: str
    bytes: int = 0

    @property
    def name(self) -> str:
        return self.address.rpartition("/")[2]


class FileOutput(Protocol):
    """Rows of a table that tasks write as Parquet files themselves, as declared but for the partition columns."""

    def write(self, directory: str) -> Sequence[DataFile]:
        """The files. New ones lie below `directory` (an address), by names that no stored file has; stored ones that
        stay as they are may be among them."""


def partition_path(table: Table, partition: Partition) -> str:
    """`a=1/b=x`: the directory of a partition below its table. Raises ValueError for other columns."""
    if tuple(partition) != table.partition_by:
        raise ValueError(f"{table.name} is partitioned by {table.partition_by}, found {tuple(partition)}")
    return "/".join(f"{name}={quote(str(value), safe=' ')}" for name, value in partition.items())


def files_of(frame: DataFrame) -> tuple[str, ...]:
    """Addresses of the files that a frame reads."""
    return tuple(map(address_of_uri, frame.inputFiles()))


def data_files_of(table: Table, frame: DataFrame) -> list[DataFile]:
    """The files of a table that a frame reads."""
    return [DataFile(address, partition_at(table, address.rpartition("/")[0])) for address in files_of(frame)]


def partition_at(table: Table, directory: str) -> str:
    """`a=1/b=x` of the directory that holds a partition's files."""
    return "/".join(directory.rsplit("/", len(table.partition_by))[1:])


def is_among(table: Table, partitions: Sequence[Partition] | None) -> Callable[[str], bool]:
    """Whether a directory's partition, `a=1/b=x`, is one of some; of None, every one is."""
    # the same characters may be escaped in a directory's name, or not: engines differ
    wanted = None if partitions is None else {unquote(partition_path(table, p)) for p in partitions}
    return lambda partition: wanted is None or unquote(partition) in wanted


def count_rows(table: Table, files: Iterable[Address]) -> int:
    """Rows, from the Parquet footers alone: no pass over the data. Raises PublishError where a flat column that is
    declared without nulls has some."""
    required = {c.name for c in table.columns if not c.nullable and not c.type.startswith("array")}
    rows, nulls = 0, dict.fromkeys(sorted(required), 0)
    for footer in read_footers(files):
        rows += footer.num_rows
        for group in range(footer.num_row_groups):
            for index in range(footer.num_columns):
                column = footer.row_group(group).column(index)
                if column.path_in_schema in required and column.statistics:
                    nulls[column.path_in_schema] += column.statistics.null_count or 0
    refuse_nulls(table, nulls)
    return rows


def refuse_nulls(table: Table, nulls: Mapping[str, int]) -> None:
    """Raises PublishError where there are any. `nulls`: column declared without them → how many it has."""
    if found := ", ".join(f"{count} nulls in {column}" for column, count in nulls.items() if count):
        raise PublishError(f"table {table.name}: {found}; these columns are declared without nulls. "
                           "Nothing was published")
