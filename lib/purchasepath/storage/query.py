"""Read-only SQL over the registered tables of a warehouse."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from typing import TextIO

from pyspark.errors import AnalysisException, ParseException, PySparkException
from pyspark.sql import DataFrame, Row, SparkSession

from purchasepath.errors import UserError, nearest
from purchasepath.storage.warehouse import Warehouse
from purchasepath.storage.zulu import with_zulu_times
from purchasepath.tables.catalog import TABLES

_READS = ("select", "with", "from", "values", "table", "show", "describe", "desc", "explain")
_SHOWN = 200
"""Most rows of the `table` format; the others print every row."""


class QueryError(UserError):
    """A query that cannot be answered."""


def run_query(spark: SparkSession, warehouse: Warehouse, query: str, style: str, out: TextIO) -> None:
    """Answer `query` from one consistent state of the warehouse and print it in `style`, one of FORMATS."""
    _refuse_changes(spark, query)
    known = warehouse.register(list(TABLES))
    try:
        spark.sql(f"USE `{warehouse.database if known else 'default'}`")
        FORMATS[style](with_zulu_times(spark.sql(query)), out)
    except AnalysisException as error:
        if known and error.getCondition() == "TABLE_OR_VIEW_NOT_FOUND":
            name = (error.getMessageParameters() or {}).get("relationName", "").strip("`")
            raise QueryError(f"there is no table `{name}`{nearest(name, known)}") from None
        tables = f"tables: {', '.join(sorted(known))}" if known else \
            "the warehouse is empty; fill it first: ./spark-submit.sh pipeline"
        raise QueryError(f"{_first_lines(error)}\n  {tables}") from None
    except PySparkException as error:
        raise QueryError(_first_lines(error)) from None


def _refuse_changes(spark: SparkSession, query: str) -> None:
    """Raise QueryError for anything but a read: the tables belong to the jobs that write them."""
    word = query.strip().lstrip("(").split(None, 1)[0].lower() if query.strip() else ""
    if word not in _READS:
        raise QueryError(f"`sql` only reads; the query begins with `{word}`{nearest(word, _READS)}")
    try:
        plan = spark._jsparkSession.sessionState().sqlParser().parsePlan(query)
    except ParseException as error:
        raise QueryError(_first_lines(error)) from None
    if "insert" in plan.getClass().getSimpleName().lower():
        raise QueryError("`sql` only reads; this query inserts")


def _first_lines(error: PySparkException) -> str:
    text = (error.getMessage() or str(error)).split("JVM stacktrace")[0]
    return "\n".join(line for line in text.splitlines()[:8] if line.strip())


def _print_table(frame: DataFrame, out: TextIO) -> None:
    rows = frame.limit(_SHOWN + 1).collect()
    cells = [[_cell(value) for value in row] for row in rows[:_SHOWN]]
    widths = [max(len(line[i]) for line in [frame.columns, *cells]) for i in range(len(frame.columns))]
    numeric = [f.dataType.typeName() in ("integer", "long", "double", "float", "decimal") for f in frame.schema.fields]
    for line in [frame.columns, ["-" * w for w in widths], *cells]:
        padded = [c.rjust(w) if n else c.ljust(w) for c, w, n in zip(line, widths, numeric, strict=True)]
        print("  ".join(padded).rstrip(), file=out)
    more = f"; the first {_SHOWN} are shown, --format csv prints all" if len(rows) > _SHOWN else ""
    print(f"({'more than ' if more else ''}{len(cells)} row{'' if len(cells) == 1 else 's'}{more})", file=out)


def _cell(value: object) -> str:
    if value is None:
        return "null"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _print_csv(frame: DataFrame, out: TextIO) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(frame.columns)
    writer.writerows(_stream(frame))


def _print_json(frame: DataFrame, out: TextIO) -> None:
    for row in _stream(frame):
        print(json.dumps(row.asDict(recursive=True), default=str), file=out)


def _stream(frame: DataFrame) -> Iterable[Row]:
    """All rows, one partition in memory at a time."""
    return frame.toLocalIterator()


FORMATS: dict[str, Callable[[DataFrame, TextIO], None]] = {
    "table": _print_table, "csv": _print_csv, "json": _print_json,
}
