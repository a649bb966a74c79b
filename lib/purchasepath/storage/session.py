"""The Spark session of every job: UTC, microsecond timestamps, quiet, sized to the machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pyspark.sql import SparkSession

from purchasepath.config import Config
from purchasepath.process import keeping_signals, run_in_utc
from purchasepath.storage.settings import PINNED, drop_foreign_defaults, refuse_settings, require_utf8


def build_session(name: str, config: Config, *, master: str | None = None) -> SparkSession:
    """A session named `purchasepath <name>`.

    `master` only where nobody gave one: under spark-submit the command line decides.
    Settings in `config.spark.conf` win over ours; those that would change results are refused with a SettingError.
    """
    refuse_settings(config.spark.conf, config.warehouse.catalog)
    run_in_utc()  # Spark gives Python its times in the zone of this process
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    settings = {
        **PINNED,
        # executors' nodes have locales and zones of their own
        "spark.executorEnv.LC_ALL": "C.UTF-8",
        "spark.executorEnv.TZ": "UTC",
        "spark.executor.defaultJavaOptions": "-Dfile.encoding=UTF-8 -Duser.timezone=UTC",
        "spark.sql.parquet.compression.codec": "zstd",
        # a page that its checksum does not fit is an error; without the second setting nobody looks at checksums
        "spark.hadoop.parquet.page.write-checksum.enabled": "true",
        "spark.hadoop.parquet.page.verify-checksum.enabled": "true",
        # half of a session is ids in hexadecimal digits, of which lz4 saves nothing: zstd moves less, and sooner
        "spark.io.compression.codec": "zstd",
        "spark.sql.hive.manageFilesourcePartitions": str(config.warehouse.catalog == "hive").lower(),
        "spark.sql.catalogImplementation": "hive" if config.warehouse.catalog == "hive" else "in-memory",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        # with any other value Spark adds up the sizes of all columns before every row that it hands to Python;
        # batches stay bounded by their rows
        "spark.sql.execution.arrow.maxBytesPerBatch": str(2**31 - 1),
        # a scored table must not be read from a stale file list after another process replaced it
        "spark.sql.filesourceTableRelationCacheSize": "0",
        # up to this many partitions the driver lists the files of a table itself: a Spark job for it takes longer
        "spark.sql.sources.parallelPartitionDiscovery.threshold": "1024",
        "spark.serializer": "org.apache.spark.serializer.KryoSerializer",
        "spark.ui.showConsoleProgress": str(sys.stderr.isatty()).lower(),  # bars in a log file are noise
        **config.spark.conf,
    }
    if config.warehouse.catalog == "embedded":
        # Spark makes a directory for its database `default`, which stays empty: not where the user stands
        place = Path(config.paths.warehouse).absolute() / ".catalog"
        settings.setdefault("spark.sql.warehouse.dir", str(place))
    builder = SparkSession.builder.appName(f"purchasepath {name}")
    if master:
        builder = builder.master(master).config("spark.driver.memory", config.spark.driver_memory)
        if master.startswith("local"):
            settings.setdefault("spark.driver.host", "127.0.0.1")
            settings.setdefault("spark.driver.bindAddress", "127.0.0.1")
    for key, value in settings.items():
        builder = builder.config(key, value)
    with keeping_signals():  # PySpark's own handler asks the JVM first, which Ctrl-C stops, too
        spark = builder.getOrCreate()
    require_utf8(spark)
    drop_foreign_defaults(spark)
    if "spark.sql.shuffle.partitions" not in config.spark.conf:
        chosen = config.spark.shuffle_partitions or max(2, 2 * spark.sparkContext.defaultParallelism)
        spark.conf.set("spark.sql.shuffle.partitions", str(chosen))
    spark.sparkContext.setLogLevel("ERROR")
    return spark
