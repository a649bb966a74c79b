"""Spark settings that results depend on: the same in every run, whatever a machine, a cluster or a file says."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import SparkSession

from purchasepath.errors import UserError

PINNED = {
    # times
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_LTZ",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # what an expression means, and when a cast fails
    "spark.sql.ansi.enabled": "true",
    "spark.sql.ansi.doubleQuotedIdentifiers": "false",
    "spark.sql.storeAssignmentPolicy": "ANSI",
    "spark.sql.mapKeyDedupPolicy": "EXCEPTION",
    "spark.sql.caseSensitive": "false",
    "spark.sql.groupByOrdinal": "true",
    "spark.sql.orderByOrdinal": "true",
    "spark.sql.variable.substitute": "false",  # `${…}` in a text or a path is these characters
    # no file is passed over in silence, no partition replaced that was not written
    "spark.sql.files.ignoreCorruptFiles": "false",
    "spark.sql.files.ignoreMissingFiles": "false",
    "spark.sql.sources.partitionOverwriteMode": "dynamic",
    "spark.sql.parquet.writeLegacyFormat": "false",
}
"""Settings of the session that every run fixes. What a cluster's own defaults say of them does not count; a
configuration that asks for another value is refused."""

_LEFT_ALONE = ("spark.sql.legacy.", "spark.sql.parser.escapedStringLiterals")
"""Settings, or what their names begin with, that have Spark's default in every run."""


class SettingError(UserError):
    """A Spark setting under which the same input would give other results."""


def refuse_settings(conf: Mapping[str, str], catalog: str) -> None:
    """Raise SettingError, naming every one, for settings of `spark.conf` that would change results."""
    fixed = {**PINNED, "spark.sql.catalogImplementation": {"embedded": "in-memory"}.get(catalog, catalog)}
    faults = [f"{key}: {value} (here it is always {fixed[key]})" for key, value in conf.items()
              if key in fixed and value.strip().lower() != fixed[key].lower()]
    faults += [f"{key}: {value} (here it is always Spark's default)" for key, value in conf.items()
               if key.startswith(_LEFT_ALONE)]
    if faults:
        raise SettingError("spark.conf holds settings that change results, so that two runs could not be compared; "
                           "leave them out:\n" + "\n".join(f"  - {fault}" for fault in faults))


def drop_foreign_defaults(spark: SparkSession) -> None:
    """Back to Spark's defaults where a cluster has others of its own, as of `spark.sql.legacy.*`."""
    for key in [key for key, _ in spark.sparkContext.getConf().getAll() if key.startswith(_LEFT_ALONE)]:
        if spark.conf.isModifiable(key):
            spark.conf.unset(key)


def require_utf8(spark: SparkSession) -> None:
    """Raise SettingError where the JVM cannot name every file: it would skip files, and change texts in queries."""
    properties = spark.sparkContext._jvm.java.lang.System  # type: ignore[union-attr]
    for name in ("sun.jnu.encoding", "file.encoding"):
        found = properties.getProperty(name)
        if found.upper() != "UTF-8":
            raise SettingError(f"the locale of this machine names files and texts in {found} ({name}), in which not "
                               f"every name can be written; expected UTF-8: start jobs with ./spark-submit.sh, or set "
                               f"LC_ALL=C.UTF-8 and no -D{name}")
