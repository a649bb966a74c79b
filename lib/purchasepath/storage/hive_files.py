"""What runs wrote to a Hive warehouse, file by file: `_files.json` in each run's directory of a table.

Checked once per process when a table is read: that the files below every location that the metastore names are those
that the run wrote there, in size. What is in them is left to the file system, which verifies its own blocks, and to
the checksums of pages. Runs of releases that kept no lists are taken as they are found.
"""

from __future__ import annotations

import json
from typing import Any, Protocol
from urllib.parse import unquote

from pyspark.sql import SparkSession

from purchasepath.errors import DamagedWarehouseError

FILE_NAME = "_files.json"


class Files(Protocol):
    """What is asked of a file system."""

    def exists(self, path: str) -> bool: ...

    def read(self, path: str) -> str: ...

    def write(self, path: str, text: str) -> None: ...

    def sizes(self, directory: str) -> dict[str, int]:
        """Path below the directory → bytes, of all files below it but those that engines pass over."""


def write_list(files: Files, location: str) -> None:
    """Name every file of a run's directory of a table, with its size."""
    files.write(f"{location}/{FILE_NAME}", json.dumps(files.sizes(location), indent=0, sort_keys=True))


def live_locations(spark: SparkSession, database: str, table: str, *, partitioned: bool) -> list[str]:
    """Where the metastore says that the table's files are: one place, or one per partition."""
    jvm: Any = spark._jvm
    session: Any = spark._jsparkSession
    catalog = session.sessionState().catalog()
    name = jvm.org.apache.spark.sql.catalyst.TableIdentifier(table, jvm.scala.Option.apply(database))
    if not partitioned:
        return [unquote(catalog.getTableMetadata(name).location().toString())]
    found = catalog.listPartitions(name, jvm.scala.Option.empty())
    return [unquote(found.apply(number).storage().locationUri().get().toString()) for number in range(found.size())]


def verify_locations(files: Files, root: str, locations: list[str]) -> None:
    """Raises DamagedWarehouseError, naming every file that is missing, foreign or of another size.

    `root`: the table's directory, with a directory per run below it.
    """
    by_run: dict[str, list[str]] = {}
    for location in locations:
        if location.startswith(f"{root}/"):  # `_none`: a table without rows
            run, _, partition = location.removeprefix(f"{root}/").partition("/")
            by_run.setdefault(f"{root}/{run}", []).append(partition)
    faults = [fault for run, partitions in sorted(by_run.items()) for fault in _faults(files, run, partitions)]
    if faults:
        raise DamagedWarehouseError(faults)


def _faults(files: Files, run: str, partitions: list[str]) -> list[str]:
    if not files.exists(f"{run}/{FILE_NAME}"):
        return [] if files.exists(run) or run.endswith("/_none") else [f"{run}: is missing"]
    written: dict[str, int] = json.loads(files.read(f"{run}/{FILE_NAME}"))
    there = files.sizes(run)
    faults = []
    for name in sorted(written.keys() | there.keys()):
        if not any(partition in ("", name.rpartition("/")[0]) for partition in partitions):
            continue  # replaced since: nobody reads it
        if name not in there:
            faults.append(f"{run}/{name}: is missing")
        elif name not in written:
            faults.append(f"{run}/{name}: no commit wrote this file; move it away")
        elif written[name] != there[name]:
            faults.append(f"{run}/{name}: has {there[name]:,} bytes, {written[name]:,} were written")
    return faults
