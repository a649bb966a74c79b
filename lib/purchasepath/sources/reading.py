"""The session that reads a shop's files: names differ by case, and nanoseconds are numbers."""

from __future__ import annotations

from pyspark.sql import SparkSession

_AS_IN = ("spark.sql.shuffle.partitions", "spark.sql.session.timeZone")


def reading_session(spark: SparkSession) -> SparkSession:
    """A session beside `spark` for frames of raw rows.

    `user` and `User` are two columns of a shop, one to Spark's SQL; nanoseconds (the default of pandas) are to Spark
    an illegal type, unless they are read as the numbers they are.
    """
    session = spark.newSession()
    for key in _AS_IN:
        session.conf.set(key, str(spark.conf.get(key)))
    session.conf.set("spark.sql.caseSensitive", "true")
    session.conf.set("spark.sql.legacy.parquet.nanosAsLong", "true")
    return session
