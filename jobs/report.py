"""The warehouse's tables -> one self-contained HTML report."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pyspark.sql import DataFrame

from purchasepath.analyses.catalog import REPORT
from purchasepath.job import Job, Summary, main
from purchasepath.report.page import Missing, ask, render, write_report
from purchasepath.stages import command
from purchasepath.tables.types import Table


def run(job: Job) -> Summary:
    def read(table: Table) -> DataFrame | None:
        return job.warehouse.read(table) if job.warehouse.exists(table) else None

    answers = ask(job.spark, REPORT.queries, read)
    html = render(REPORT, answers, now=datetime.now(UTC))
    target = Path(job.config.paths.report)
    write_report(html, target)

    missing = {(a.table, a.stage) for a in answers.values() if isinstance(a, Missing)}
    lines = [f"{len(REPORT.panels)} panels, {len(html) / 1e6:.1f} MB: {target.absolute()}"]
    lines += [f"without table {table}; write it with {command(stage)}" for table, stage in sorted(missing)]
    return Summary(lines=lines, next=f"open {target}")


if __name__ == "__main__":
    main("report", run)
