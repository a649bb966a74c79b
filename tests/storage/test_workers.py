"""Python workers of Spark, with our package imported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa
from pyspark.sql import SparkSession


def archives_read_again(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """How many archives are on the worker's path, and how many directories are read when caches are invalidated, as
    PySpark does before every task."""
    import importlib
    import sys
    import zipimport

    import purchasepath  # noqa: F401  as every function of ours does that runs there

    read: list[str] = []
    original = zipimport._read_directory  # type: ignore[attr-defined]

    def counted(archive: str) -> object:
        read.append(archive)
        return original(archive)

    zipimport._read_directory = counted  # type: ignore[attr-defined]
    try:
        importlib.invalidate_caches()
    finally:
        zipimport._read_directory = original  # type: ignore[attr-defined]
    archives = sum(isinstance(finder, zipimport.zipimporter) for finder in sys.path_importer_cache.values())
    yield pa.RecordBatch.from_pylist([{"archives": archives, "read": len(read)} for _ in batches])


def test_a_worker_does_not_read_its_archives_again(spark: SparkSession) -> None:
    [found] = spark.range(0, 1, 1, 1).mapInArrow(archives_read_again, "archives long, read long").collect()
    assert found.archives > 0
    assert found.read == 0
