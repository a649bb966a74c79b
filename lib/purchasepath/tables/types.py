"""A table as a value: name, grain, partitioning and columns, declared once.

Spark schema, Arrow schema, checks, test rows and `docs/tables.md` derive from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from purchasepath.errors import TableMismatchError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import DataType, StructType


@dataclass(frozen=True)
class Column:
    """One column: Spark SQL type, meaning (with its unit) and what a missing value means."""

    name: str
    type: str
    meaning: str
    nullable: bool = False
    """Also null in files of earlier releases that lack it: a table may gain such a column at any time."""
    default: Any = None
    """Value that replaces a missing one on ingest; None with nullable=False rejects the row."""


@dataclass(frozen=True)
class Table:
    """A declared table.

    `grain` completes the sentence "one row per …". `key` columns identify a row. `partition_by` are the
    Hive-style partition columns, always last in `columns`. `written_by` names the stage that writes it. `secret`
    columns are not for `sql`, and a table that has some lies in files that only their owner may read.
    """

    name: str
    grain: str
    written_by: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    partition_by: tuple[str, ...] = ()
    cluster_by: tuple[str, ...] = ()
    secret: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        tail = tuple(c.name for c in self.columns[len(self.columns) - len(self.partition_by):])
        if tail != self.partition_by:
            raise ValueError(f"{self.name}: partition columns {self.partition_by} must come last, found {tail}")
        unknown = [k for k in (*self.key, *self.cluster_by, *self.secret) if k not in self.names]
        if unknown:
            raise ValueError(f"{self.name}: unknown key, cluster or secret columns {unknown}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns)

    @property
    def shown(self) -> tuple[str, ...]:
        """Columns that `sql` shows; () for a table that it does not know."""
        return tuple(name for name in self.names if name not in self.secret)

    def column(self, name: str) -> Column:
        return next(c for c in self.columns if c.name == name)

    def ddl(self, *, with_comments: bool = False) -> str:
        """Column list as in CREATE TABLE; without comments also what `spark.read.schema` takes."""

        def line(c: Column) -> str:
            comment = f" COMMENT {_sql_string(c.meaning)}" if with_comments else ""
            return f"`{c.name}` {c.type}{'' if c.nullable else ' NOT NULL'}{comment}"

        return ", ".join(line(c) for c in self.columns)

    def spark_schema(self) -> StructType:
        from pyspark.sql.types import (  # loaded when asked: the doctor and the pages need no Spark
            StructField,
            StructType,
        )

        return StructType([StructField(c.name, _spark_type(c.type), c.nullable) for c in self.columns])

    def arrow_schema(self) -> pa.Schema:
        import pyarrow as pa

        return pa.schema([pa.field(c.name, _arrow_type(c.type), c.nullable) for c in self.columns])

    def file_schema(self) -> pa.Schema:
        """Columns of the table's files: a partition column is in the name of their directory."""
        import pyarrow as pa

        return pa.schema([field for field in self.arrow_schema() if field.name not in self.partition_by])

    def select(self, frame: DataFrame) -> DataFrame:
        """Exactly the declared columns of `frame`, in order. Raises TableMismatchError with all differences."""
        differences = self.differences(frame)
        if differences:
            raise TableMismatchError(self.name, differences)
        return frame.select(*self.names)

    def differences(self, frame: DataFrame) -> list[str]:
        """How `frame` differs from the declaration in names and types; further columns are allowed."""
        found = {f.name: f.dataType.simpleString() for f in frame.schema.fields}
        faults = []
        for field in self.spark_schema().fields:
            expected = field.dataType.simpleString()
            if field.name not in found:
                faults.append(f"column {field.name} {expected} is missing")
            elif found[field.name] != expected:
                faults.append(f"column {field.name}: expected {expected}, found {found[field.name]}")
        return faults

    def frame(self, spark: SparkSession, rows: Iterable[Mapping[str, Any]] = ()) -> DataFrame:
        """A frame of this table from the columns that matter; the others get null or a plain value.
        Raises KeyError for other columns, ValueError for nulls where none are declared."""
        import pyarrow as pa

        known = set(self.names)
        filled = []
        for row in rows:
            unknown = set(row) - known
            if unknown:
                raise KeyError(f"{self.name} has no columns {sorted(unknown)}")
            filled.append({c.name: row[c.name] if c.name in row else _plain_value(c) for c in self.columns})
        found = pa.Table.from_pylist(filled, schema=self.arrow_schema())
        missing = [c.name for c in self.columns if not c.nullable and found[c.name].null_count]
        if missing:
            raise ValueError(f"{self.name}: nulls in {missing}, which are declared without")
        # Spark turns rows of Python into its own in a Python worker, and a table of Arrow by itself
        return spark.createDataFrame(found, self.spark_schema())


def _spark_type(declared: str) -> DataType:
    """The Spark type of a declared one; without a JVM, unlike StructType.fromDDL, so that executors may ask too."""
    from pyspark.sql import types as T

    if declared.startswith("array<"):
        return T.ArrayType(_spark_type(declared.removeprefix("array<").removesuffix(">")), containsNull=True)
    plain: dict[str, DataType] = {
        "string": T.StringType(), "int": T.IntegerType(), "bigint": T.LongType(), "double": T.DoubleType(),
        "float": T.FloatType(), "boolean": T.BooleanType(), "timestamp": T.TimestampType(), "date": T.DateType(),
    }
    return plain[declared]


def _arrow_type(declared: str) -> pa.DataType:
    """The Arrow type in which Spark hands over a declared one; told here, as Spark's own function for it changes its
    parameters from line to line."""
    import pyarrow as pa

    if declared.startswith("array<"):
        return pa.list_(pa.field("element", _arrow_type(declared.removeprefix("array<").removesuffix(">"))))
    plain: dict[str, pa.DataType] = {
        "string": pa.string(), "int": pa.int32(), "bigint": pa.int64(), "double": pa.float64(), "float": pa.float32(),
        "boolean": pa.bool_(), "timestamp": pa.timestamp("us", tz="UTC"), "date": pa.date32(),
    }
    return plain[declared]


def _plain_value(column: Column) -> Any:
    if column.nullable:
        return None
    if column.default is not None:
        return column.default
    if column.type.startswith("array"):
        return []
    plain = {
        "string": "", "int": 0, "bigint": 0, "double": 0.0, "float": 0.0, "boolean": False,
        "timestamp": datetime(2024, 1, 1, tzinfo=UTC), "date": date(2024, 1, 1),
    }
    return plain[column.type]


def _sql_string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
