"""Read-only SQL over the shown tables of a warehouse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from typing import Any, TextIO

import pyarrow as pa
from py4j.java_gateway import is_instance_of
from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import DataFrame, SparkSession

from purchasepath.errors import nearest
from purchasepath.storage.guard import ANSWERED, Guard, QueryError
from purchasepath.storage.printing import FORMATS
from purchasepath.storage.warehouse import Warehouse
from purchasepath.storage.zulu import with_zulu_times
from purchasepath.tables.catalog import TABLES
from purchasepath.tables.types import Table

_CLOSED = {
    "spark.sql.variable.substitute": "false",  # '${env:HOME}' is replaced while a query is parsed
    "spark.sql.runSQLOnFiles": "false",
}
"""Settings of Spark that a query is answered with."""


def run_query(spark: SparkSession, warehouse: Warehouse, query: str, style: str, out: TextIO,
              declared: Sequence[Table] = TABLES) -> None:
    """Answer `query` from one consistent state of the `declared` tables and print it in `style`, one of FORMATS."""
    if not query.strip():
        raise QueryError(f"the query is empty. {ANSWERED}")
    known: list[str] = []
    try:
        with _closed(spark, declared):
            tables = _show_tables(spark, warehouse, declared)
            known = [table.name for table in tables]
            FORMATS[style](with_zulu_times(_answer(spark, warehouse.database, declared, tables, query)), out)
    except AnalysisException as error:
        told = f"tables: {', '.join(sorted(known))}" if known else \
            "the warehouse is empty; fill it first: ./spark-submit.sh pipeline"
        raise QueryError(f"{_first_lines(error)}\n  {told}") from None
    except PySparkException as error:
        raise QueryError(_first_lines(error)) from None
    except Py4JJavaError as error:  # Spark's own errors that PySpark has no class for
        if not is_instance_of(spark.sparkContext._gateway, error.java_exception, "org.apache.spark.SparkThrowable"):
            raise
        raise QueryError(str(error.java_exception.getMessage()).splitlines()[0]) from None


@contextmanager
def _closed(spark: SparkSession, declared: Sequence[Table]) -> Iterator[None]:
    """The session without the settings that let the text of a query reach outside; afterwards as it was."""
    before = {name: spark.conf.get(name) for name in _CLOSED}
    try:
        for name, value in _CLOSED.items():
            spark.conf.set(name, value)
        yield
    finally:
        for name, old in before.items():
            spark.conf.set(name, str(old))
        for table in declared:
            if table.secret and table.shown:
                spark.catalog.dropTempView(table.name)


def _show_tables(spark: SparkSession, warehouse: Warehouse, declared: Sequence[Table]) -> list[Table]:
    """The tables that are there and may be asked, registered by name; of one with secrets a view without them."""
    found = set(warehouse.register([table for table in declared if not table.secret]))
    for table in declared:
        if table.secret and table.shown and warehouse.exists(table):
            warehouse.read(table).select(*table.shown).createOrReplaceTempView(table.name)
            found.add(table.name)
    if found:
        spark.catalog.setCurrentDatabase(warehouse.database)
    return [table for table in declared if table.name in found]


def _answer(spark: SparkSession, database: str, declared: Sequence[Table], tables: Sequence[Table], query: str
            ) -> DataFrame:
    """The rows that answer `query`. Raises QueryError for all but a read of `tables`, those of `declared` to show."""
    state: Any = spark._jsparkSession.sessionState()
    plan = state.sqlParser().parsePlan(query)
    kind = plan.getClass().getSimpleName()
    if kind == "ShowTables" and plan.namespace().getClass().getSimpleName() == "CurrentNamespace$":
        pattern = plan.pattern().get() if plan.pattern().isDefined() else "*"
        return _list_tables(spark, [table for table in tables if fnmatch(table.name, pattern)])
    if kind == "DescribeRelation":
        return _describe(spark, tables, str(plan.relation().multipartIdentifier().last()))
    guard = Guard(spark, database, {table.name: table.shown for table in tables},
                  views=[table.name for table in tables if table.secret],
                  hidden=[table.name for table in declared if not table.shown])
    if kind == "ExplainCommand":
        rows = _guarded(spark, guard, plan.logicalPlan())
        text = rows._jdf.queryExecution().explainString(plan.mode())
        return spark.createDataFrame(pa.table({"plan": text.splitlines()}))
    return _guarded(spark, guard, plan)


def _guarded(spark: SparkSession, guard: Guard, parsed: Any) -> DataFrame:
    guard.check_parsed(parsed)
    jvm: Any = spark._jvm
    rows = jvm.org.apache.spark.sql.classic.Dataset.ofRows(spark._jsparkSession, parsed)
    guard.check_analysed(rows.queryExecution().analyzed())
    return DataFrame(rows, spark)


def _list_tables(spark: SparkSession, tables: Sequence[Table]) -> DataFrame:
    rows = {"table": [t.name for t in tables], "one_row_per": [t.grain for t in tables],
            "written_by": [t.written_by for t in tables]}
    return spark.createDataFrame(pa.table({name: pa.array(column, pa.string()) for name, column in rows.items()}))


def _describe(spark: SparkSession, tables: Sequence[Table], name: str) -> DataFrame:
    table = next((t for t in tables if t.name == name.lower()), None)
    if table is None:
        raise QueryError(f"there is no table `{name}` to show{nearest(name, [t.name for t in tables])}")
    columns = [table.column(column) for column in table.shown]
    return spark.createDataFrame(pa.table({
        "column": [c.name for c in columns], "type": [c.type for c in columns], "meaning": [c.meaning for c in columns],
    }))


def _first_lines(error: PySparkException) -> str:
    text = (error.getMessage() or str(error)).split("JVM stacktrace")[0]
    return "\n".join(line for line in text.splitlines()[:8] if line.strip())
