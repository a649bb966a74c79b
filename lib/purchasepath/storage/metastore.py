"""What a Hive metastore says of the tables of one database, and is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from pyspark.sql import DataFrame, SparkSession

from purchasepath.storage.paths import sql_text


class Metastore:
    """Tables by their names."""

    def __init__(self, spark: SparkSession, database: str) -> None:
        self._spark = spark
        self._database = database

    def name(self, table: str) -> str:
        """As SQL has it."""
        return f"`{self._database}`.`{table}`"

    def exists(self, table: str) -> bool:
        return self._spark.catalog.tableExists(f"{self._database}.{table}")

    def open(self, table: str) -> DataFrame:
        """As it is now: another process may have switched partitions since it was read last."""
        self._spark.sql(f"REFRESH TABLE {self.name(table)}")
        return self._spark.table(self.name(table))

    def properties(self, table: str) -> dict[str, str]:
        rows = self._spark.sql(f"SHOW TBLPROPERTIES {self.name(table)}").collect()
        return {row["key"]: row["value"] for row in rows}

    def set_properties(self, table: str, properties: Mapping[str, str]) -> None:
        pairs = ", ".join(f"{sql_text(name)}={sql_text(value)}" for name, value in properties.items())
        self._spark.sql(f"ALTER TABLE {self.name(table)} SET TBLPROPERTIES ({pairs})")

    def drop_properties(self, table: str, names: Iterable[str]) -> None:
        if listed := ", ".join(map(sql_text, names)):
            self._spark.sql(f"ALTER TABLE {self.name(table)} UNSET TBLPROPERTIES IF EXISTS ({listed})")

    def locations(self, table: str) -> list[str]:
        """Where its files are: one place, or one per partition."""
        jvm: Any = self._spark._jvm
        session: Any = self._spark._jsparkSession
        catalog = session.sessionState().catalog()
        identifier = jvm.org.apache.spark.sql.catalyst.TableIdentifier(table, jvm.scala.Option.apply(self._database))
        stored = catalog.getTableMetadata(identifier)
        if stored.partitionColumnNames().isEmpty():
            return [unquote(stored.location().toString())]
        found = catalog.listPartitions(identifier, jvm.scala.Option.empty())
        return [unquote(found.apply(number).storage().locationUri().get().toString()) for number in range(found.size())]

    def partitions(self, table: str) -> list[dict[str, str]]:
        """Column → value of each."""
        listed = self._spark.sql(f"SHOW PARTITIONS {self.name(table)}").collect()
        found = [dict(part.split("=", 1) for part in row.partition.split("/")) for row in listed]
        return [{name: unquote(value) for name, value in partition.items()} for partition in found]

    def point(self, table: str, partition: Mapping[str, str] | None, location: str | None) -> None:
        """Have a partition, or with None the table, at another place; without a place there is no such partition."""
        if partition is None:
            self._spark.sql(f"ALTER TABLE {self.name(table)} SET LOCATION {sql_text(str(location))}")
            return
        spec = ", ".join(f"`{name}`={sql_text(value)}" for name, value in partition.items())
        if location is None:
            self._spark.sql(f"ALTER TABLE {self.name(table)} DROP IF EXISTS PARTITION ({spec})")
        else:
            place = f"LOCATION {sql_text(location)}"
            self._spark.sql(f"ALTER TABLE {self.name(table)} ADD IF NOT EXISTS PARTITION ({spec}) {place}")
            self._spark.sql(f"ALTER TABLE {self.name(table)} PARTITION ({spec}) SET {place}")

    def add_columns(self, table: str, younger: Iterable[tuple[str, str, str]]) -> None:
        """Those of the declaration's younger columns (name, type, meaning) that the table was made without."""
        known = self._spark.table(self.name(table)).columns
        added = [f"`{name}` {kind} COMMENT {sql_text(meaning)}" for name, kind, meaning in younger if name not in known]
        if added:
            self._spark.sql(f"ALTER TABLE {self.name(table)} ADD COLUMNS ({', '.join(added)})")
