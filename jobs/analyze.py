"""SESSIONS -> the tables of every analysis, all of them or none."""

from __future__ import annotations

from pyspark.sql import DataFrame

from purchasepath.analyses.analysis import Inputs
from purchasepath.analyses.catalog import ANALYSES, check_knobs
from purchasepath.job import Job, Summary, main
from purchasepath.tables.types import Table


def run(job: Job) -> Summary:
    check_knobs(job.config.analyze)
    ours = {table for analysis in ANALYSES for table in analysis.tables}
    frames: dict[Table, DataFrame] = {}

    def read(table: Table) -> DataFrame:
        if table not in ours and table not in frames:
            frames[table] = job.warehouse.read(table)
        return frames[table]

    summary = Summary()
    with job.warehouse.transaction(job.run_id) as tx:
        inputs = Inputs(read, tx.materialize, job.config.analyze)
        for analysis in ANALYSES:
            if analysis.run:
                findings = analysis.run(inputs)
                frames |= findings.tables
                summary.rows |= {table.name: tx.write(table, rows) for table, rows in findings.tables.items()}
                summary.lines += findings.lines
    return summary


if __name__ == "__main__":
    main("analyze", run)
