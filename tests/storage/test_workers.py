"""Python workers of Spark on one machine: their console tells of faults alone."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.rules.reading import ROOT

STOPS_EARLY = """
import sys, time
from pyspark.sql import SparkSession
from benchmarks.sessionize import local_settings
from purchasepath.config import load_config
from purchasepath.storage.session import build_session

def slowly(batches):
    for batch in batches:
        yield batch
        time.sleep(0.05)

def fails(batches):
    raise OSError("a fault of its own")

config = load_config([], [*local_settings(), f"paths.warehouse={sys.argv[1]}"])
spark = build_session("workers", config, master="local[2]")
spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "10")
numbers = spark.range(0, 100_000, 1, 4)
print(len(numbers.mapInArrow(slowly, "id long").limit(3).collect()))
try:
    numbers.mapInArrow(fails, "id long").collect()
except Exception as failure:
    print("a fault of its own" in str(failure))
spark.stop()
"""


def test_a_worker_that_is_hung_up_on_prints_no_traceback_and_a_fault_is_still_told(tmp_path: object) -> None:
    paths = [ROOT, ROOT / "lib", ROOT / "benchmarks", os.environ.get("PYTHONPATH", "")]  # perhaps of another PySpark
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    done = subprocess.run([sys.executable, "-c", STOPS_EARLY, str(tmp_path)], env=environment, capture_output=True,
                          text=True, check=False, timeout=300)
    assert done.stdout.split() == ["3", "True"], done.stderr
    assert "BrokenPipe" not in done.stderr
    assert "ConnectionReset" not in done.stderr
