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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import pyspark.sql.functions as F
from pyspark.sql import DataFrame, SparkSession

from purchasepath.config import Config
from purchasepath.errors import ConflictError, DamagedWarehouseError, TableMismatchError, TableMissingError
from purchasepath.storage.addresses import address_of
from purchasepath.storage.audit import TableAudit
from purchasepath.storage.contents import FileFacts
from purchasepath.storage.data_files import DataFile, Partition, is_among, partition_at
from purchasepath.storage.files import sha256_json
from purchasepath.storage.hadoop_files import HadoopFiles
from purchasepath.storage.hive_files import (
    LIST_OF,
    NO_ROWS,
    by_run,
    faults_of,
    live_contents,
)
from purchasepath.storage.hive_transaction import HiveTransaction
from purchasepath.storage.metastore import Metastore
from purchasepath.storage.warehouse import Transaction
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
        self._listed: dict[str, dict[str, FileFacts] | None] = {}
        """Place whose files are as they were written → these. They are never changed."""

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
        lacking = [c.name for c in table.columns if not c.nullable and c.name not in stored.columns]
        if lacking:
            raise TableMismatchError(table.name, [*(f"column {name} is missing in the metastore" for name in lacking), (
                f"another release wrote this table; keep its files elsewhere, drop it (DROP TABLE {self.database}."
                f"{table.name}) and write it again: ./spark-submit.sh {table.written_by}")])
        added = {c.name: F.lit(None).cast(c.type) for c in table.columns if c.nullable and c.name not in stored.columns}
        return table.select(stored.withColumns(added) if added else stored)

    def _verify(self, table: Table) -> list[str]:
        """Where the table's files are, all of which are as they were written."""
        places = self.metastore.locations(table.name)
        written = self._contents(table, [place for place in places if place not in self._listed])
        if faults := list(faults_of(self.files, written)):
            raise DamagedWarehouseError(faults)
        self._listed.update(written)
        return places

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

    def data_files(self, table: Table, partitions: Sequence[Partition] | None = None) -> list[DataFile]:
        if not self.exists(table):
            raise TableMissingError(table.name, table.written_by)
        self.seen_run(table.name)
        wanted = is_among(table, partitions)
        return [DataFile(f"{address_of(place)}/{name}", partition, size) for place in sorted(self._verify(table))
                if not place.endswith(f"/{NO_ROWS}") and wanted(partition := partition_at(table, place))
                for name, size in sorted(self._sizes(place).items())]

    def _sizes(self, place: str) -> dict[str, int]:
        """File → bytes, as its run wrote it; or as it is found, of earlier releases, which kept no lists."""
        written = self._listed.get(place)
        return self.files.sizes(place) if written is None else {name: file.bytes for name, file in written.items()}

    def fingerprints(self, table: Table) -> dict[str, str]:
        if not self.exists(table):
            return {}
        files: dict[str, list[str]] = {}
        for uri in sorted(self.read(table).inputFiles()):  # a file is never changed: its path stands for its rows
            path = unquote(urlsplit(uri).path)
            place = path.split(f"/{table.name}/", 1)[-1].split("/")  # <run_id>/a=1/b=x/part-….parquet
            files.setdefault("/".join(place[1:-1]), []).append(path)
        return {partition: sha256_json(paths) for partition, paths in files.items()}

    def migrate(self, run_id: str) -> list[str]:
        """None: a metastore's table changes its partitioning by being dropped, which is its owner's to decide."""
        return []

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
        work = HiveTransaction(self, run_id)
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
