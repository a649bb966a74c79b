"""The warehouse in a shared Hive metastore: versions on any file system, switched by partition locations.

Files of a run go to `<warehouse>/<table>/<run_id>/…` and are never changed. A commit points partitions (or
an unpartitioned table) at them with ALTER TABLE … SET LOCATION, which the metastore applies one partition at
a time. So that a commit of many partitions is still all or nothing, its whole list of switches is written
to `<warehouse>/_commits/` first: a commit that was cut off is carried on by the next transaction.
`<warehouse>/_numbers/` holds the newest commit's number, which tells the order of runs.
Replaced files stay where they are for readers that still use them; remove old run directories by age, if no table
reads them any more. Each names its files (`hive_files.py`): what is missing is an error, not fewer rows.

A partition has one location, so one that gains rows is written whole, old rows and new, to a new one. Rows
are added only if the table's property `purchasepath.run` (the last run that changed it) is still what it was
when the table was read. The metastore offers no lock that every file system shares: two commits within the
same seconds could both pass this check, so schedule writers of one table one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, reduce
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame, SparkSession

from purchasepath.config import Config
from purchasepath.errors import ConflictError, DamagedWarehouseError, PublishError, TableMissingError
from purchasepath.storage.audit import TableAudit
from purchasepath.storage.contents import FileFacts
from purchasepath.storage.files import sha256_json
from purchasepath.storage.hadoop_files import HadoopFiles
from purchasepath.storage.hive_files import (
    LIST_OF,
    by_run,
    faults_of,
    live_contents,
    write_list,
)
from purchasepath.storage.metastore import Metastore
from purchasepath.storage.paths import read_parquet
from purchasepath.storage.warehouse import (
    Partition,
    Rows,
    Transaction,
    create_table_sql,
    keep_other_partitions,
    partition_path,
    write_parquet,
)
from purchasepath.tables.types import Table

_LAST_RUN = "purchasepath.run"


class HiveWarehouse:
    """Tables of the catalog as external tables of a Hive metastore."""

    def __init__(self, spark: SparkSession, config: Config) -> None:
        self.spark = spark
        self.database = config.warehouse.database
        self.metastore = Metastore(spark, self.database)
        self.files = HadoopFiles(spark)
        self.root = self.files.qualified(config.paths.warehouse)
        self._seen: dict[str, str] = {}
        self._verified: set[str] = set()
        """Places whose files are as they were written. They are never changed."""

    @property
    def snapshot(self) -> str:
        return "metastore"

    def exists(self, table: Table) -> bool:
        return self.metastore.exists(table.name)

    def read(self, table: Table) -> DataFrame:
        if not self.exists(table):
            raise TableMissingError(table.name, table.written_by)
        self.seen_run(table.name)
        stored = self.metastore.open(table.name)
        self._verify(table)
        added = {c.name: F.lit(None).cast(c.type) for c in table.columns if c.added and c.name not in stored.columns}
        return table.select(stored.withColumns(added) if added else stored)

    def _verify(self, table: Table) -> None:
        places = self.metastore.locations(table.name)
        written = self._contents(table, [place for place in places if place not in self._verified])
        if faults := list(faults_of(self.files, written)):
            raise DamagedWarehouseError(faults)
        self._verified.update(places)

    def _contents(self, table: Table, places: list[str]) -> dict[str, dict[str, FileFacts] | None]:
        digests = {name.removeprefix(LIST_OF): value for name, value in self.metastore.properties(table.name).items()
                   if name.startswith(LIST_OF)}
        return live_contents(self.files, f"{self.root}/{table.name}", places, digests)

    def audit(self, tables: Iterable[Table]) -> Iterator[TableAudit]:
        """Of those of `tables` that are there, every content whose digest is known compared with it."""
        for table in filter(self.exists, tables):
            try:
                written = self._contents(table, self.metastore.locations(table.name))
                faults = list(faults_of(self.files, written, whole=True))
            except DamagedWarehouseError as damage:
                written, faults = {}, damage.faults
            if faults:
                yield TableAudit(table.name, f"{len(faults)} faults", True, tuple(faults))
            elif None in written.values():
                yield TableAudit(table.name, "written before runs named their files", known=False)
            else:
                files = [facts for listed in written.values() for facts in (listed or {}).values()]
                yield TableAudit.of_files(table.name, files)

    def local_files(self, table: Table, partitions: Sequence[Partition] | None = None) -> list[Path] | None:
        return None  # on any file system that Spark reaches, and Python may not

    def fingerprints(self, table: Table) -> dict[str, str]:
        if not self.exists(table):
            return {}
        files: dict[str, list[str]] = {}
        for uri in sorted(self.read(table).inputFiles()):  # a file is never changed: its path stands for its rows
            path = unquote(urlsplit(uri).path)
            place = path.split(f"/{table.name}/", 1)[-1].split("/")  # <run_id>/a=1/b=x/part-….parquet
            files.setdefault("/".join(place[1:-1]), []).append(path)
        return {partition: sha256_json(paths) for partition, paths in files.items()}

    def last_run(self, table: str) -> str:
        """The run that changed a table last; '' for a table that was never written."""
        return self.metastore.properties(table).get(_LAST_RUN, "") if self.metastore.exists(table) else ""

    def seen_run(self, table: str) -> str:
        """The run that had changed a table last when we first read it, since our own last transaction."""
        if table not in self._seen:
            self._seen[table] = self.last_run(table)
        return self._seen[table]

    def register(self, tables: Sequence[Table]) -> list[str]:
        return [t.name for t in tables if self.exists(t)]

    @contextmanager
    def transaction(self, run_id: str) -> Iterator[Transaction]:
        self._finish_cut_off_commits()
        work = _HiveTransaction(self, run_id)
        try:
            yield work
            self._refuse_conflicts(work.expected)
        except BaseException:
            work.discard()
            raise
        finally:
            self._seen.clear()
        self._commit(work.number, run_id, work.switches)
        work.discard(only_scratch=True)

    def _refuse_conflicts(self, expected: dict[str, str]) -> None:
        changed = {table: run for table, seen in expected.items() if (run := self.last_run(table)) != seen}
        if changed:
            told = (f"table {table}: run {run} has changed it while this one was adding rows to it"
                    for table, run in changed.items())
            raise ConflictError("; ".join(told) + "; theirs stands. Run this job again to build on it")

    def last_number(self) -> int:
        """Number of the newest commit; 0 before the first that was counted."""
        numbers = self.files.list(f"{self.root}/_numbers")
        return int(PurePosixPath(numbers[-1]).stem) if numbers else 0

    def _take_number(self, number: int) -> None:
        """Before anything of the commit is visible. Two at once may both take one: neither has seen the other."""
        earlier = self.files.list(f"{self.root}/_numbers")
        if number > self.last_number():
            self.files.write(f"{self.root}/_numbers/{number:012d}.json", "")
            for file in earlier:
                self.files.remove(file)

    def _commit(self, number: int, run_id: str, switches: list[dict[str, Any]]) -> None:
        if switches:
            self._take_number(number)
            journal = f"{self.root}/_commits/{number:012d}-{run_id}.json"
            self.files.write(journal, json.dumps(switches))
            self._apply(switches)
            self.files.remove(journal)

    def _finish_cut_off_commits(self) -> None:
        for journal in self.files.list(f"{self.root}/_commits"):
            self._apply(json.loads(self.files.read(journal)))
            self.files.remove(journal)

    def _apply(self, switches: list[dict[str, Any]]) -> None:
        self.spark.sql(f"CREATE DATABASE IF NOT EXISTS `{self.database}`")
        made: set[str] = set()
        for switch in switches:
            table, partition = switch["table"], switch["partition"]
            if table not in made:
                self.spark.sql(switch["create"])
                self.metastore.add_columns(table, switch.get("younger", ()))
                self.metastore.set_properties(table, {
                    _LAST_RUN: switch["run"], f"{LIST_OF}{switch['run']}": switch["list"]})
                made.add(table)
            if partition != {}:  # else a partitioned table without any rows: being there is all
                self.metastore.point(table, partition, switch["location"])
        for table in made:
            self._forget_lists(table)
            self.metastore.open(table)

    def _forget_lists(self, table: str) -> None:
        """Of runs whose files nobody reads any more: else a table would gain a property with every run."""
        live = by_run(f"{self.root}/{table}", self.metastore.locations(table))
        self.metastore.drop_properties(table, [
            name for name in self.metastore.properties(table)
            if name.startswith(LIST_OF) and name.removeprefix(LIST_OF) not in live])


class _HiveTransaction:
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
        if not isinstance(rows, DataFrame) or not isinstance(kept, DataFrame | None):
            raise TypeError("rows in files, but no files were given out")
        location = f"{self.warehouse.root}/{table.name}/{self.run_id}"
        self._locations.append(location)
        if table.secret:
            self.warehouse.files.make_private(f"{self.warehouse.root}/{table.name}")
        write_parquet(table, rows, location)
        staged = read_parquet(self.warehouse.spark, location, table.spark_schema())
        num_rows = _count_without_nulls(table, staged)
        self._written[table.name] = staged
        if kept is not None and partitions:
            write_parquet(table, kept, location, mode="append", gather=False)
            staged = read_parquet(self.warehouse.spark, location, table.spark_schema())
        existing = self._existing(table)
        found = [r.asDict() for r in staged.select(*table.partition_by).distinct().collect()] \
            if table.partition_by else []  # one row per partition
        written = {partition_path(table, p): p for p in found}
        replaced = {partition_path(table, p): dict(p) for p in partitions or []}
        if append:
            if not num_rows and not replaced and self.warehouse.exists(table):
                return 0
            self._add_old_rows(table, location, [p for path, p in written.items()
                                                 if path in existing and path not in replaced])
        elif partitions is None:
            replaced = existing
        elif not set(written) <= set(replaced):
            raise PublishError(f"table {table.name}: rows for partitions {sorted(set(written) - set(replaced))} were "
                               "staged, but they are not to be replaced. Nothing was published")
        self._switch(table, location, written, replaced, write_list(self.warehouse.files, location))
        self._left[table.name] = self._with_rest(table, location, [*written.values(), *replaced.values()])
        return num_rows

    def _add_old_rows(self, table: Table, location: str, partitions: Sequence[Partition]) -> None:
        """Copy the rows of partitions that gain some (of a whole table without partitions) beside the new ones."""
        self.expected[table.name] = self.warehouse.seen_run(table.name)
        if not self.warehouse.exists(table):
            return
        old = self.warehouse.read(table)
        if table.partition_by:
            if not partitions:
                return
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
                  "create": create_table_sql(table, self.warehouse.database, f"{root}/{table.name}/_none"),
                  "younger": [(c.name, c.type, c.meaning) for c in table.columns if c.added]}
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


def _count_without_nulls(table: Table, staged: DataFrame) -> int:
    required = [c.name for c in table.columns if not c.nullable and not c.type.startswith("array")]
    nulls_of = [F.count_if(F.col(c).isNull()).alias(c) for c in required]
    row = staged.agg(F.count(F.lit(1)).alias("_rows"), *nulls_of).first()
    counts = row.asDict() if row else {"_rows": 0}
    nulls = {c: counts[c] for c in required if counts.get(c)}
    if nulls:
        raise PublishError(f"table {table.name}: " + ", ".join(f"{n} nulls in {c}" for c, n in nulls.items())
                           + "; these columns are declared without nulls. Nothing was published")
    return int(counts["_rows"])
