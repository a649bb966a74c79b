"""A sample of benchmarks/kills.py: kill -9 of a whole job leaves the old tables or the new; the next run repairs."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from benchmarks.kills import IN_COMMIT, NEITHER, NOT_REPAIRED, build_shop, run

pytestmark = pytest.mark.slow


def test_a_job_killed_at_random_or_in_its_commit_leaves_the_old_tables_or_the_new_ones(
    spark: SparkSession, tmp_path: Path
) -> None:
    counts = run(build_shop(spark, tmp_path / "shop", 200), ("ingest", "sessionize"), 4, 5, tmp_path)
    assert sum(counts.values()) == 4
    assert sum(number for (case, _), number in counts.items() if case.endswith(IN_COMMIT)) == 2
    assert not {outcome for _, outcome in counts} & {NEITHER, NOT_REPAIRED}
