"""Purchasepath: from an online shop's raw behaviour events to answers about its purchase paths."""

import sys

__version__ = "0.1.0"

if "pyspark.worker" in sys.modules:
    # In a Python worker of Spark: PySpark before 4.2 invalidates import caches before every task (SPARK-54744), and
    # Python 3.10 to 3.12 then reads the directories of Spark's own archives again (python/cpython#103200), some 80 ms
    # a task. What is on a worker's path does not change while it lives.
    import zipimport

    zipimport.zipimporter.invalidate_caches = lambda self: None  # type: ignore[method-assign]
