"""A path is a path: handed to Spark as it is written, not as a URI (`%20`), a glob (`[x]`) or a piece of SQL (`'`)."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

NO_GLOB = "__globPaths__"
"""Spark's option that says whether a reader's path is a pattern."""


def spark_path(path: Path) -> str:
    """The absolute `path` as Spark's readers, writers and LOCATION take it, letter by letter."""
    return f"file:{path}"  # Hadoop decodes nothing after the scheme; Path.as_uri would


def sql_text(text: str) -> str:
    """`text` as a literal of Spark's SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def read_parquet(spark: SparkSession, location: str, schema: StructType) -> DataFrame:
    """The Parquet files at and below this very location, in a schema that is known."""
    return spark.read.option(NO_GLOB, "false").schema(schema).parquet(location)
