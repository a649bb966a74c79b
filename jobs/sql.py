"""Query the warehouse: prints a table, CSV or JSON lines."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from pyspark.sql import SparkSession

from purchasepath.analyses.catalog import ALL_TABLES
from purchasepath.config import load_config
from purchasepath.errors import UserError
from purchasepath.job import Job, argument_parser, guarded
from purchasepath.storage.printing import FORMATS
from purchasepath.storage.query import run_query


def main(arguments: Sequence[str]) -> int:
    parser = argument_parser("sql")
    parser.add_argument("query", nargs="?", default="show tables", help="a SELECT (or SHOW TABLES, DESCRIBE, EXPLAIN)")
    parser.add_argument("--format", choices=sorted(FORMATS), default="table")
    options = parser.parse_args(arguments)

    def work() -> None:
        job = Job("sql", load_config(options.config, options.set), may_write=False)
        job.log.disabled = True
        variable = job.config.ingest.pseudonym_key_env
        os.environ.pop(variable, None)  # before a JVM of our own is started
        with job.explaining():
            refuse_key(job.spark, variable)
            run_query(job.spark, job.warehouse, options.query, options.format, sys.stdout, ALL_TABLES)

    return guarded(work)


def refuse_key(spark: SparkSession, variable: str) -> None:
    """Raise UserError where the JVM that answers holds the pseudonym key: spark-submit.sh takes away PURCHASEPATH_KEY
    alone, and other launchers nothing."""
    if spark._jvm.java.lang.System.getenv(variable) is not None:  # type: ignore[union-attr]
        raise UserError(f"the process that answers queries must not hold the pseudonym key, and the environment "
                        f"variable {variable} is set; run: env -u {variable} ./spark-submit.sh sql …")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
