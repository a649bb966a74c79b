"""The warehouse: declared tables in, declared tables out, every change all or nothing.

`EmbeddedWarehouse` keeps its tables as snapshots below a directory (`snapshots.py`) and registers them, as
declared, in the catalog of each Spark session that opens it: no database server, any number of processes at
once. `hive.HiveWarehouse` keeps the same contract in a shared Hive metastore.

- `read` returns a table as the catalog declares it, from one consistent state that does not move under the
  reader, or raises TableMissingError / TableMismatchError.
- Inside `transaction`, `write` stages and checks; nothing is visible before the block ends, and then all of
  it is. An exception inside the block leaves every table as it was.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlsplit

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame, SparkSession

from purchasepath.config import Config
from purchasepath.errors import PublishError, TableMismatchError, TableMissingError
from purchasepath.storage.parquet import read_footer
from purchasepath.storage.paths import NO_GLOB, read_parquet, spark_path, sql_text
from purchasepath.storage.snapshots import Snapshot, Snapshots, StagedTable
from purchasepath.tables.catalog import TABLES
from purchasepath.tables.types import Table

Partition = Mapping[str, Any]
"""Partition column → value, for every partition column of a table."""


@dataclass(frozen=True)
class StagedFile:
    """A Parquet file of a table: where it lies now, and its partition (`a=1/b=x`, '' without partitions)."""

    path: Path
    partition: str


class FileOutput(Protocol):
    """Rows of a table that tasks write as Parquet files themselves, as declared but for the partition columns."""

    def write(self, directory: Path) -> Sequence[StagedFile]:
        """The files. New ones lie below `directory`, by names that no stored file has; stored ones that stay as they
        are may be among them."""


Rows = DataFrame | FileOutput


class Transaction(Protocol):
    """What a job may do inside `warehouse.transaction(...)`."""

    @property
    def number(self) -> int:
        """Above the numbers of all transactions whose tables this one sees, whatever clocks say."""

    def write(self, table: Table, rows: Rows, *, partitions: Sequence[Partition] | None = None,
              append: bool = False, kept: Rows | None = None) -> int:
        """Stage `rows` as the whole table, or as exactly these partitions; how many there are.

        With `append`, rows are added to what is there: `partitions` are replaced, all others keep their rows and
        may gain new ones. Published only if nobody else has changed the table since it was read (ConflictError).
        `kept`: stored rows of `partitions` that stay beside the new ones. They are copied as they lie, unshuffled.
        Rows may be files only where `Warehouse.local_files` gave some.
        """

    def read(self, table: Table) -> DataFrame:
        """The table as this transaction will leave it. Raises TableMissingError where it was never written."""

    def written(self, table: Table) -> DataFrame:
        """The rows that this transaction has written to the table, without those of before that it has kept."""

    def materialize(self, frame: DataFrame, name: str) -> DataFrame:
        """`frame`, computed once and read back from the staging area; gone when the transaction ends."""


class Warehouse(Protocol):
    """Tables of the catalog, read from one state and changed all or nothing."""

    database: str

    @property
    def snapshot(self) -> str:
        """Name of the state that reads come from."""

    def exists(self, table: Table) -> bool:
        """Whether the table was ever written."""

    def read(self, table: Table) -> DataFrame:
        """The table, exactly as declared."""

    def local_files(self, table: Table, partitions: Sequence[Partition] | None = None) -> list[Path] | None:
        """Stored files, of these partitions or all, that tasks may read themselves; None where only Spark may."""

    def fingerprints(self, table: Table) -> dict[str, str]:
        """Path of each partition (`partition_path`; '' without partitions) -> digest that changes with its files.

        A partition without files is absent; {} for a table that was never written.
        """

    def transaction(self, run_id: str) -> Any:
        """Context manager that yields a Transaction and switches on exit."""

    def register(self, tables: Sequence[Table]) -> list[str]:
        """Make these tables queryable by name in the Spark session; the names of those that exist."""


def write_parquet(table: Table, frame: DataFrame, location: str, *, mode: str = "overwrite",
                  gather: bool = True) -> None:
    """Write the declared columns of `frame`: Hive-style partition directories, files sorted by `cluster_by`.

    `gather` brings each partition's rows into few files of a sensible size and splits large ones. Rows of stored
    files lie together as they are: without it they save a shuffle.
    """
    rows = table.select(frame)
    if table.partition_by and gather:
        rows = rows.hint("rebalance", *table.partition_by)
    order = [*table.partition_by, *table.cluster_by]
    if order:
        rows = rows.sortWithinPartitions(*order)
    writer = rows.write.mode(mode)
    (writer.partitionBy(*table.partition_by) if table.partition_by else writer).parquet(location)


def keep_other_partitions(rows: DataFrame, partitions: Sequence[Partition]) -> DataFrame:
    """Rows that lie in none of the partitions; the files of those are not opened."""
    named = [reduce(Column.__and__, [F.col(name) == F.lit(value) for name, value in p.items()]) for p in partitions]
    return rows.where(~reduce(Column.__or__, named)) if named else rows


def partition_path(table: Table, partition: Partition) -> str:
    """`a=1/b=x`: the directory of a partition below its table. Raises ValueError for other columns."""
    if tuple(partition) != table.partition_by:
        raise ValueError(f"{table.name} is partitioned by {table.partition_by}, found {tuple(partition)}")
    return "/".join(f"{name}={quote(str(value), safe=' ')}" for name, value in partition.items())


def files_of(frame: DataFrame) -> tuple[Path, ...]:
    """Files on the local file system that a frame reads."""
    return tuple(Path(unquote(urlsplit(uri).path)) for uri in frame.inputFiles())


def create_table_sql(table: Table, database: str, location: str) -> str:
    """CREATE TABLE of a declared table over files at `location`, with column comments."""
    partitioned = f" PARTITIONED BY ({', '.join(table.partition_by)})" if table.partition_by else ""
    return (
        f"CREATE TABLE IF NOT EXISTS `{database}`.`{table.name}` ({table.ddl(with_comments=True)}) USING parquet"
        f" OPTIONS ({NO_GLOB} 'false'){partitioned} LOCATION {sql_text(location)}"
        f" COMMENT {sql_text(f'one row per {table.grain}')}"
    )


class EmbeddedWarehouse:
    """A warehouse in a directory, shared by any number of processes."""

    def __init__(self, spark: SparkSession, config: Config) -> None:
        self.spark = spark
        self.database = config.warehouse.database
        self._snapshots = Snapshots(Path(config.paths.warehouse), keep=config.warehouse.keep_snapshots,
                                    private=[table.name for table in TABLES if table.secret])
        self._pinned: Snapshot | None = None
        self._registered: dict[str, Path] = {}

    @property
    def snapshot(self) -> str:
        pinned = self._pin()
        return pinned.name if pinned else "empty"

    def exists(self, table: Table) -> bool:
        pinned = self._pin()
        return pinned is not None and pinned.table(table.name) is not None

    def read(self, table: Table) -> DataFrame:
        if not self.register([table]):
            raise TableMissingError(table.name, table.written_by)
        return self.spark.table(f"`{self.database}`.`{table.name}`").select(*table.names)

    def local_files(self, table: Table, partitions: Sequence[Partition] | None = None) -> list[Path] | None:
        if not self.register([table]):
            raise TableMissingError(table.name, table.written_by)
        location = self._registered[table.name]
        directories = [location] if partitions is None else [location / partition_path(table, p) for p in partitions]
        return sorted(file for directory in directories for file in directory.rglob("*.parquet"))

    def fingerprints(self, table: Table) -> dict[str, str]:
        pinned = self._pin()
        return pinned.fingerprints(table.name) if pinned else {}

    def register(self, tables: Sequence[Table]) -> list[str]:
        pinned = self._pin()
        found = [(t, location) for t in tables if pinned and (location := pinned.table(t.name))]
        if found and not self._registered:
            place = f"LOCATION {sql_text(spark_path(self._snapshots.root / '.catalog'))}"
            self.spark.sql(f"CREATE DATABASE IF NOT EXISTS `{self.database}` {place}")
        for table, location in found:
            if self._registered.get(table.name) == location:
                continue
            if pinned:
                pinned.verify(table.name)
            _check_stored(table, location)
            self.spark.sql(f"DROP TABLE IF EXISTS `{self.database}`.`{table.name}`")
            self.spark.sql(create_table_sql(table, self.database, spark_path(location)))
            self._registered[table.name] = location
        return [t.name for t, _ in found]

    @contextmanager
    def transaction(self, run_id: str) -> Iterator[Transaction]:
        base = self._pin()
        with self._snapshots.staging(run_id) as directory:
            work = _EmbeddedTransaction(self, directory, base)
            try:
                yield work
                if work.staged:
                    self._snapshots.commit(work.staged, {"run_id": run_id}, base=base)
            finally:
                self._release()

    def _pin(self) -> Snapshot | None:
        if self._pinned is None:
            self._pinned = self._snapshots.pin()
        return self._pinned

    def _release(self) -> None:
        """Look at the newest state from now on. Tables are registered again when they are next read."""
        if self._pinned:
            self._pinned.release()
        self._pinned = None


class _EmbeddedTransaction:
    def __init__(self, warehouse: EmbeddedWarehouse, directory: Path, base: Snapshot | None) -> None:
        self.warehouse = warehouse
        self.spark = warehouse.spark
        self.directory = directory
        self.base = base
        self.number = int(base.name) + 1 if base else 1
        self.staged: dict[str, StagedTable] = {}
        self._written: dict[str, DataFrame] = {}
        """Table -> rows staged beside others that were kept."""
        self._replaced: dict[str, Sequence[Partition]] = {}

    def write(self, table: Table, rows: Rows, *, partitions: Sequence[Partition] | None = None,
              append: bool = False, kept: Rows | None = None) -> int:
        replaced = None if partitions is None else frozenset(partition_path(table, p) for p in partitions)
        self._replaced[table.name] = partitions or []
        location = self.directory / table.name
        self._write(table, rows, location)
        num_rows, nulls = _count_rows_and_nulls(table, location)
        if nulls:
            raise PublishError(
                f"table {table.name}: " + ", ".join(f"{n} nulls in {c}" for c, n in nulls.items())
                + "; these columns are declared without nulls. Nothing was published"
            )
        if kept is not None and replaced:
            self._written[table.name] = self._stored_at(table, location)  # lists the files that are there now
            self._write(table, kept, location, add=True)
        if append:
            self._stage_addition(table, location, replaced or frozenset(), num_rows)
            return num_rows
        written = {str(f.parent.relative_to(location)) for f in location.rglob("*.parquet")}
        if replaced is not None and not written <= replaced:
            raise PublishError(f"table {table.name}: rows for partitions {sorted(written - replaced)} were staged, "
                               f"but only {sorted(replaced)} are to be replaced. Nothing was published")
        self.staged[table.name] = StagedTable(location, replaced)
        return num_rows

    def _write(self, table: Table, rows: Rows, location: Path, *, add: bool = False) -> None:
        if isinstance(rows, DataFrame):
            write_parquet(table, rows, spark_path(location), mode="append" if add else "overwrite", gather=not add)
            return
        made = self.directory / f"_{table.name}_files"
        for file in rows.write(made):
            target = location / file.partition / file.path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            # files are never changed: a stored one that stays may have a second name
            os.replace(file.path, target) if file.path.is_relative_to(made) else os.link(file.path, target)
        location.mkdir(exist_ok=True)

    def _stage_addition(self, table: Table, location: Path, replaced: frozenset[str], rows: int) -> None:
        """Adding nothing to a table that is there stages nothing, so it clashes with nobody and leaves no files."""
        there = self.base is not None and self.base.table(table.name) is not None
        if rows or replaced or not there:
            self.staged[table.name] = StagedTable(location, replaced, appends=True)

    def read(self, table: Table) -> DataFrame:
        change = self.staged.get(table.name)
        if change is None:
            return self.warehouse.read(table)
        written = self._stored_at(table, change.directory)
        if change.replaced is None or not self.warehouse.exists(table):
            return written
        return keep_other_partitions(self.warehouse.read(table), self._replaced[table.name]).union(written)

    def written(self, table: Table) -> DataFrame:
        if table.name in self._written:
            return self._written[table.name]
        change = self.staged.get(table.name)  # nothing added to what is there is nothing staged
        return self._stored_at(table, change.directory) if change else table.frame(self.spark)

    def _stored_at(self, table: Table, location: Path) -> DataFrame:
        return read_parquet(self.spark, spark_path(location), table.spark_schema())

    def materialize(self, frame: DataFrame, name: str) -> DataFrame:
        location = spark_path(self.directory / f"_{name}")
        frame.write.mode("overwrite").parquet(location)
        return read_parquet(self.spark, location, frame.schema)


def _check_stored(table: Table, location: Path) -> None:
    """Raise TableMismatchError when files were written by a release whose declaration had other columns."""
    file = next(location.rglob("*.parquet"), None)
    if file is None:
        return
    stored = set(read_footer(file).schema.to_arrow_schema().names) | set(table.partition_by)
    missing = [f"column {c.name} is missing in the stored files" for c in table.columns
               if c.name not in stored and not c.added]
    if missing:  # the stage that writes the table may read it first, so running it again need not help
        raise TableMismatchError(table.name, [*missing, (
            "another release wrote this table; begin with an empty warehouse, "
            "--set paths.warehouse=<new directory>, and run the stages again from `ingest` on")])


def _count_rows_and_nulls(table: Table, location: Path) -> tuple[int, dict[str, int]]:
    """Rows, and nulls per non-nullable flat column, from the Parquet footers alone: no pass over the data."""
    required = {c.name for c in table.columns if not c.nullable and not c.type.startswith("array")}
    rows, nulls = 0, dict.fromkeys(sorted(required), 0)
    for file in location.rglob("*.parquet"):
        footer = read_footer(file)
        rows += footer.num_rows
        for group in range(footer.num_row_groups):
            for index in range(footer.num_columns):
                column = footer.row_group(group).column(index)
                if column.path_in_schema in required and column.statistics:
                    nulls[column.path_in_schema] += column.statistics.null_count or 0
    return rows, {name: count for name, count in nulls.items() if count}
