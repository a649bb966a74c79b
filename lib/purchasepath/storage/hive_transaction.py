"""What one run stages in a Hive warehouse: rows or files below directories of its own, and what they replace."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame

from purchasepath.errors import PublishError
from purchasepath.storage.addresses import address_of, is_local, make_parent
from purchasepath.storage.copies import copy_files
from purchasepath.storage.data_files import DataFile, FileOutput, Partition, count_rows, partition_path, refuse_nulls
from purchasepath.storage.hive_files import NO_ROWS, write_list
from purchasepath.storage.paths import read_parquet
from purchasepath.storage.warehouse import Rows, create_table_sql, keep_other_partitions, write_parquet
from purchasepath.tables.types import Table

if TYPE_CHECKING:
    from purchasepath.storage.hive import HiveWarehouse


class HiveTransaction:
    """What a job may do inside `HiveWarehouse.transaction`; switches are applied when it has ended."""

    def __init__(self, warehouse: HiveWarehouse, run_id: str) -> None:
        self.warehouse = warehouse
        self.run_id = run_id
        self.switches: list[dict[str, Any]] = []
        self.expected: dict[str, str] = {}
        """Table that gains rows -> the run whose state it must still have."""
        self._left: dict[str, DataFrame] = {}
        """Table -> what we have staged, with the partitions of before that stay."""
        self._written: dict[str, DataFrame] = {}
        """Table -> what we have staged, without anything of before."""
        self._locations: list[str] = []
        self._scratch: list[str] = []

    @cached_property
    def number(self) -> int:
        """Asked for after the reads that it must be above: other processes' commits are seen at once."""
        return self.warehouse.last_number() + 1

    def write(self, table: Table, rows: Rows, *, partitions: Sequence[Partition] | None = None,
              append: bool = False, kept: Rows | None = None) -> int:
        location = f"{self.warehouse.root}/{table.name}/{self.run_id}"
        self._locations.append(location)
        if table.secret:
            self.warehouse.files.make_private(f"{self.warehouse.root}/{table.name}")
        num_rows, written = self._write_rows(table, rows, location)
        staged = read_parquet(self.warehouse.spark, location, table.spark_schema())
        self._written[table.name] = staged  # the files that are there now
        if kept is not None and partitions:
            written |= self._write_kept(table, kept, location)
        existing = self._existing(table)
        replaced = {partition_path(table, p): dict(p) for p in partitions or []}
        if append:
            if not num_rows and not replaced and self.warehouse.exists(table):
                return 0
            gaining = [p for path, p in written.items() if path in existing and path not in replaced]
            self._add_old_rows(table, location, gaining, as_files=not isinstance(rows, DataFrame))
        elif partitions is None:
            replaced = existing
        elif not set(written) <= set(replaced):
            raise PublishError(f"table {table.name}: rows for partitions {sorted(set(written) - set(replaced))} were "
                               "staged, but they are not to be replaced. Nothing was published")
        self._switch(table, location, written, replaced, write_list(self.warehouse.files, location))
        self._left[table.name] = self._with_rest(table, location, [*written.values(), *replaced.values()])
        return num_rows

    def _write_rows(self, table: Table, rows: Rows, location: str) -> tuple[int, dict[str, Partition]]:
        """Stage rows; how many, and path → values of their partitions."""
        if not isinstance(rows, DataFrame):
            files = self._write_files(table, rows, location)
            return count_rows(table, [file.address for file in files]), _partitions_of(table, files)
        write_parquet(table, rows, location)
        staged = read_parquet(self.warehouse.spark, location, table.spark_schema())
        return _count_without_nulls(table, staged), _partitions_in(table, staged)

    def _write_kept(self, table: Table, kept: Rows, location: str) -> dict[str, Partition]:
        if not isinstance(kept, DataFrame):
            return _partitions_of(table, self._write_files(table, kept, location))
        write_parquet(table, kept, location, mode="append", gather=False)
        return _partitions_in(table, read_parquet(self.warehouse.spark, location, table.spark_schema()))

    def _write_files(self, table: Table, rows: FileOutput, location: str) -> list[DataFile]:
        """Files that tasks have written, moved to their place, and stored ones that stay, copied there: where they are
        now. What failed attempts of tasks have left is no part of it."""
        scratch = f"{self.warehouse.root}/_staging/{self.run_id}/_{table.name}_files"
        self._scratch.append(scratch)
        self.warehouse.files.make_private(f"{self.warehouse.root}/_staging")
        self.warehouse.files.make_directory(location)
        made = address_of(scratch)
        files = list(rows.write(made))
        new = [file for file in files if file.address.startswith(f"{made}/")]
        stored = [file for file in files if not file.address.startswith(f"{made}/")]
        return [*self._move(new, location), *self._copy(stored, location)]

    def _move(self, files: Sequence[DataFile], location: str) -> list[DataFile]:
        moved = _placed(files, location)
        if is_local(address_of(location)):
            for file, target in zip(files, moved, strict=True):
                make_parent(target.address)
                os.replace(file.address, target.address)
            return moved
        for partition in {file.partition for file in files}:
            self.warehouse.files.make_directory(f"{location}/{partition}")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self.warehouse.files.move, [file.address for file in files], [f.address for f in moved]))
        return moved

    def _copy(self, files: Sequence[DataFile], location: str) -> list[DataFile]:
        copies = _placed(files, location)
        copy_files(self.warehouse.spark, [(file.address, copy.address) for file, copy in
                                          zip(files, copies, strict=True)])
        return copies

    def _add_old_rows(self, table: Table, location: str, partitions: Sequence[Partition], *, as_files: bool) -> None:
        """Copy the rows of partitions that gain some (of a whole table without partitions) beside the new ones."""
        self.expected[table.name] = self.warehouse.seen_run(table.name)
        if not self.warehouse.exists(table) or (table.partition_by and not partitions):
            return
        if as_files:
            self._copy(self.warehouse.data_files(table, partitions or None), location)
            return
        old = self.warehouse.read(table)
        if table.partition_by:
            old = old.where(reduce(Column.__or__, [_is_partition(p) for p in partitions]))
        write_parquet(table, old, location, mode="append", gather=False)

    def _with_rest(self, table: Table, location: str, partitions: Sequence[Partition]) -> DataFrame:
        """The staged files, and the partitions that they do not take the place of."""
        staged = read_parquet(self.warehouse.spark, location, table.spark_schema())  # lists the files anew
        if not table.partition_by or not self.warehouse.exists(table):
            return staged
        return keep_other_partitions(self.warehouse.read(table), partitions).union(staged)

    def _switch(self, table: Table, location: str, written: Mapping[str, Partition],
                replaced: Mapping[str, Partition], list_digest: str) -> None:
        root = self.warehouse.root
        switch = {"table": table.name, "run": self.run_id, "list": list_digest,
                  "create": create_table_sql(table, self.warehouse.database, f"{root}/{table.name}/{NO_ROWS}"),
                  "younger": [(c.name, c.type, c.meaning) for c in table.columns if c.nullable]}
        if not table.partition_by:
            self.switches.append({**switch, "partition": None, "location": location})
            return
        targets = dict.fromkeys(replaced) | {path: f"{location}/{path}" for path in written}
        for path, partition in {**replaced, **written}.items():
            values = {name: str(value) for name, value in partition.items()}
            self.switches.append({**switch, "partition": values, "location": targets[path]})
        if not targets:
            self.switches.append({**switch, "partition": {}, "location": None})

    def read(self, table: Table) -> DataFrame:
        return self._left[table.name] if table.name in self._left else self.warehouse.read(table)

    def written(self, table: Table) -> DataFrame:
        return self._written[table.name]

    def materialize(self, frame: DataFrame, name: str) -> DataFrame:
        location = f"{self.warehouse.root}/_staging/{self.run_id}/{name}"
        self._scratch.append(location)
        self.warehouse.files.make_private(f"{self.warehouse.root}/_staging")
        frame.write.mode("overwrite").parquet(location)
        return read_parquet(self.warehouse.spark, location, frame.schema)

    def discard(self, *, only_scratch: bool = False) -> None:
        for location in [*self._scratch, *([] if only_scratch else self._locations)]:
            self.warehouse.files.remove(location)

    def _existing(self, table: Table) -> dict[str, dict[str, str]]:
        """Path -> values of the partitions that are there."""
        if not table.partition_by or not self.warehouse.exists(table):
            return {}
        return {partition_path(table, p): p for p in self.warehouse.metastore.partitions(table.name)}


def _is_partition(partition: Partition) -> Column:
    return reduce(Column.__and__, [F.col(name) == F.lit(value) for name, value in partition.items()])


def _partitions_in(table: Table, staged: DataFrame) -> dict[str, Partition]:
    """Path → values of the partitions that rows are in: one row each."""
    found = staged.select(*table.partition_by).distinct().collect() if table.partition_by else []
    return {partition_path(table, row.asDict()): row.asDict() for row in found}


def _partitions_of(table: Table, files: Sequence[DataFile]) -> dict[str, Partition]:
    """Path → values of the partitions that files are in."""
    if not table.partition_by:
        return {}
    values = [{name: unquote(value) for name, _, value in (part.partition("=") for part in file.partition.split("/"))}
              for file in files]
    return {partition_path(table, partition): partition for partition in values}


def _placed(files: Sequence[DataFile], location: str) -> list[DataFile]:
    """The files where their run has them."""
    return [replace(file, address="/".join(filter(None, [address_of(location).rstrip("/"), file.partition, file.name])))
            for file in files]


def _count_without_nulls(table: Table, staged: DataFrame) -> int:
    required = [c.name for c in table.columns if not c.nullable and not c.type.startswith("array")]
    nulls_of = [F.count_if(F.col(c).isNull()).alias(c) for c in required]
    row = staged.agg(F.count(F.lit(1)).alias("_rows"), *nulls_of).first()
    counts = row.asDict() if row else {"_rows": 0}
    refuse_nulls(table, {c: counts[c] for c in required if c in counts})
    return int(counts["_rows"])
