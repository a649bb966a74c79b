"""Query the warehouse: prints a table, CSV or JSON lines."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from purchasepath.config import load_config
from purchasepath.job import Job, argument_parser, guarded
from purchasepath.storage.query import FORMATS, run_query


def main(arguments: Sequence[str]) -> int:
    parser = argument_parser("sql")
    parser.add_argument("query", nargs="?", default="show tables", help="a SELECT (or SHOW, DESCRIBE, EXPLAIN)")
    parser.add_argument("--format", choices=sorted(FORMATS), default="table")
    options = parser.parse_args(arguments)

    def work() -> None:
        job = Job("sql", load_config(options.config, options.set))
        job.log.disabled = True
        with job.explaining():
            run_query(job.spark, job.warehouse, options.query, options.format, sys.stdout)

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
