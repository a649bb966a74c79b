"""A Hive metastore of a test's own, in a process of its own: Spark's catalog is chosen once per process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def hive_settings(root: Path) -> list[str]:
    """Overrides for a warehouse, `wh`, and a metastore below `root`."""
    derby = f"jdbc:derby:;databaseName={root / 'metastore'};create=true"
    return [
        "warehouse.catalog=hive", f"paths.warehouse={root / 'wh'}", "spark.shuffle_partitions=2",
        f"spark.conf.spark.sql.warehouse.dir={root / 'spark-warehouse'}", "spark.conf.spark.ui.enabled=false",
        f"spark.conf.spark.hadoop.javax.jdo.option.ConnectionURL={derby}",
        f"spark.conf.spark.driver.extraJavaOptions=-Dderby.stream.error.file={root / 'derby.log'}",
    ]


def run_in_own_process(script: Path, root: Path, expected: str) -> None:
    """Run a script, whose last line then is `expected`."""
    result = subprocess.run(
        [sys.executable, str(script.resolve()), str(root)], cwd=root, text=True, capture_output=True, timeout=600,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'lib'}:{ROOT}"})
    assert result.stdout.splitlines()[-1:] == [expected], result.stdout[-2000:] + result.stderr[-4000:]
