"""The warehouse's tables -> one self-contained HTML report."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pyspark.sql import DataFrame

from purchasepath.analysis.report import Missing, all_panels, ask, render, write_report
from purchasepath.job import Job, Summary, main
from purchasepath.tables.types import Table


def run(job: Job) -> Summary:
    def read(table: Table) -> DataFrame | None:
        return job.warehouse.read(table) if job.warehouse.exists(table) else None

    answers = ask(job.spark, read)
    html = render(answers, now=datetime.now(UTC))
    target = Path(job.config.paths.report)
    write_report(html, target)

    missing = {(a.table, a.stage) for a in answers.values() if isinstance(a, Missing)}
    lines = [f"{len(all_panels())} panels, {len(html) / 1e6:.1f} MB: {target.absolute()}"]
    lines += [f"without table {table}; write it with ./spark-submit.sh {stage}" for table, stage in sorted(missing)]
    return Summary(lines=lines, next=f"open {target}")


if __name__ == "__main__":
    main("report", run)
