"""Parquet files: their footers, and their rows as exact texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql.types import StructType

from purchasepath.errors import InputError
from purchasepath.places import literal_path
from purchasepath.sources.exact import exact_text, named_column, nanos_text
from purchasepath.sources.files import RawFile, cause, hadoop_conf, read_options

_NANOS = re.compile(r"^  \w+ int64 (.+) \(TIMESTAMP\(NANOS,(true|false)\)\)", re.MULTILINE)


@dataclass(frozen=True)
class ParquetColumns:
    """The columns of files of one schema; `nanos` are times in nanoseconds: name, and whether they are in UTC."""

    schema: StructType
    nanos: dict[str, bool]

    def text(self, name: str) -> Column:
        """The column's exact text; null where these files lack it."""
        if name not in self.schema.names:
            return F.lit(None).cast("string")
        if name in self.nanos:
            return nanos_text(named_column(name), in_utc=self.nanos[name])
        return exact_text(named_column(name), self.schema[name].dataType)


def footer_schema(spark: SparkSession, file: RawFile) -> str:
    """The schema in the file's footer, as Parquet prints it. Raises InputError where there is none."""
    jvm: Any = spark._jvm
    try:
        given = jvm.org.apache.parquet.hadoop.util.HadoopInputFile.fromPath(
            jvm.org.apache.hadoop.fs.Path(file.path), hadoop_conf(spark, [file]))
        reader = jvm.org.apache.parquet.hadoop.ParquetFileReader.open(given)
        try:
            return str(reader.getFileMetaData().getSchema().toString()).partition("\n")[2]
        finally:
            reader.close()
    except Exception as failure:  # py4j wraps whatever Java throws
        raise InputError(f"{file.path} is not readable as Parquet: {cause(failure)}; copy or write it again") from None


def parquet_columns(spark: SparkSession, files: Sequence[RawFile], footer: str) -> ParquetColumns:
    """Columns of files whose footers hold the schema `footer`. Raises InputError where Spark cannot read its types."""
    first = files[0]
    try:
        found = spark.read.options(**read_options([first])).parquet(literal_path(first.path)).schema
    except Exception as failure:  # Spark has no class of its own for a type that it cannot read
        raise InputError(f"{first.path} holds a type that Spark does not read from Parquet: "
                         f"{str(failure).splitlines()[0]}; write that column in another type or leave it out") from None
    return ParquetColumns(found, {name: zone == "true" for name, zone in _NANOS.findall(footer)})


def read_parquet(spark: SparkSession, files: Sequence[RawFile], columns: ParquetColumns) -> DataFrame:
    """Rows of Spark's types."""
    paths = [literal_path(file.path) for file in files]
    return spark.read.schema(columns.schema).options(**read_options(files)).parquet(*paths)


def file_facts(rows: DataFrame) -> Column:
    """What Spark tells of the file of each row of `read_parquet`, also where the shop has a column of that name."""
    return rows.metadataColumn("_metadata")


def row_text(columns: ParquetColumns) -> Column:
    """A row as JSON: its values' exact texts by name, in the order of names, so that equal rows have equal texts."""
    return F.to_json(F.struct(*[columns.text(name).alias(name) for name in sorted(columns.schema.names)]))
