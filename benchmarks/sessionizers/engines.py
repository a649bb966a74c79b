"""Ways to sessionize the same files: each cuts `source` by a pause of 30 minutes and writes Parquet (zstd) to `target`.

Ours writes SESSIONS as declared, 32 columns with all its rules; the others the arrays and sums they are known for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

GAP_US = 30 * 60_000_000  # in the two queries: 1800000000

WINDOWS_SQL = """
SELECT user_id, session, min(event_ts) AS started_at, max(event_ts) AS ended_at, count(*) AS num_events,
       sum(CASE WHEN event_type = 'purchase' THEN price ELSE 0 END) AS revenue,
       collect_list(event_id) AS event_ids, collect_list(event_type) AS event_types, collect_list(item_id) AS item_ids,
       collect_list(price) AS prices, collect_list(event_ts) AS times
FROM (SELECT *, sum(opens) OVER (PARTITION BY user_id ORDER BY event_ts, event_id ROWS UNBOUNDED PRECEDING) AS session
      FROM (SELECT *, CASE WHEN unix_micros(event_ts) - unix_micros(lag(event_ts) OVER (
                PARTITION BY user_id ORDER BY event_ts, event_id)) <= 1800000000 THEN 0 ELSE 1 END AS opens
            FROM events))
GROUP BY user_id, session
"""

DUCKDB_SQL = """
COPY (
SELECT user_id, session, min(event_ts) AS started_at, max(event_ts) AS ended_at, count(*) AS num_events,
       sum(CASE WHEN event_type = 'purchase' THEN price ELSE 0 END) AS revenue,
       list(event_id ORDER BY event_ts, event_id) AS event_ids,
       list(event_type ORDER BY event_ts, event_id) AS event_types,
       list(item_id ORDER BY event_ts, event_id) AS item_ids,
       list(price ORDER BY event_ts, event_id) AS prices,
       list(event_ts ORDER BY event_ts, event_id) AS times
FROM (SELECT *, sum(opens) OVER (PARTITION BY user_id ORDER BY event_ts, event_id ROWS UNBOUNDED PRECEDING) AS session
      FROM (SELECT *, CASE WHEN epoch_us(event_ts) - epoch_us(lag(event_ts) OVER (
                PARTITION BY user_id ORDER BY event_ts, event_id)) <= 1800000000 THEN 0 ELSE 1 END AS opens
            FROM read_parquet(getvariable('source'))))
GROUP BY user_id, session) TO 'TARGET' (FORMAT parquet, COMPRESSION zstd)
"""


def ours(spark: SparkSession, source: Path, target: Path) -> None:
    from purchasepath.config import Sessions
    from purchasepath.sessions.engine.files import SessionFiles
    from purchasepath.sessions.engine.rules import Timely
    from purchasepath.sessions.engine.source import FileSource
    from purchasepath.tables.catalog import EVENTS

    config = Sessions()
    SessionFiles(FileSource(spark, EVENTS, sorted(source.glob("*.parquet")), Timely(config)), config).write(target)


def ours_frame(spark: SparkSession, source: Path, target: Path) -> None:
    """The same rows of a frame: where events are no files that tasks can read."""
    from purchasepath.config import Sessions
    from purchasepath.sessions.engine.sessionize import sessionize

    sessionize(as_events(spark.read.parquet(str(source))), Sessions()).write.parquet(str(target))


def spark_window(spark: SparkSession, source: Path, target: Path) -> None:
    """Lag and running sum, as every tutorial shows."""
    spark.read.parquet(str(source)).createOrReplaceTempView("events")
    spark.sql(WINDOWS_SQL).write.parquet(str(target))


def spark_session_window(spark: SparkSession, source: Path, target: Path) -> None:
    """Aggregates only: `session_window` cannot give the events' order to a list."""
    import pyspark.sql.functions as F

    bought = F.when(F.col("event_type") == "purchase", F.col("price")).otherwise(0.0)
    spark.read.parquet(str(source)).groupBy("user_id", F.session_window("event_ts", "30 minutes")).agg(
        F.min("event_ts").alias("started_at"), F.max("event_ts").alias("ended_at"),
        F.count(F.lit(1)).alias("num_events"), F.sum(bought).alias("revenue")).write.parquet(str(target))


def spark_repartition(spark: SparkSession, source: Path, target: Path) -> None:
    """No sessions at all: rows to their visitor's partition and out again, what any shuffle of rows costs."""
    spark.read.parquet(str(source)).repartition("user_id").write.parquet(str(target))


def duckdb(source: Path, target: Path, threads: int) -> None:
    import duckdb

    target.mkdir()
    connection = duckdb.connect(config={"threads": threads, "temp_directory": str(target / "spill")})
    connection.execute("SET preserve_insertion_order = false")
    connection.execute("SET VARIABLE source = ?", [str(source / "*.parquet")])
    connection.execute(DUCKDB_SQL.replace("TARGET", str(target / "sessions.parquet")))


def polars(source: Path, target: Path) -> None:
    """Threads are set by POLARS_MAX_THREADS before the process starts."""
    import polars as pl

    target.mkdir()
    opens = (pl.col("event_ts").diff().dt.total_microseconds().fill_null(GAP_US + 1) > GAP_US) | (
        pl.col("user_id") != pl.col("user_id").shift())
    ordered = pl.scan_parquet(source / "*.parquet").sort("user_id", "event_ts", "event_id")
    sessions = ordered.with_columns(session=opens.fill_null(True).cum_sum()).group_by("session").agg(
        pl.col("user_id").first(), pl.col("event_ts").min().alias("started_at"),
        pl.col("event_ts").max().alias("ended_at"), pl.len().alias("num_events"),
        pl.col("price").filter(pl.col("event_type") == "purchase").sum().alias("revenue"),
        pl.col("event_id").alias("event_ids"), pl.col("event_type").alias("event_types"),
        pl.col("item_id").alias("item_ids"), pl.col("price").alias("prices"), pl.col("event_ts").alias("times"))
    sessions.sink_parquet(target / "sessions.parquet", compression="zstd")


SPARK = {"ours": ours, "ours_frame": ours_frame, "spark_window": spark_window,
         "spark_session_window": spark_session_window, "spark_repartition": spark_repartition}
ENGINES = (*SPARK, "duckdb", "polars")


def as_events(rows: DataFrame) -> DataFrame:
    """EVENTS of the generated files: the columns they lack are null or plain."""
    import pyspark.sql.functions as F

    from purchasepath.tables.catalog import EVENTS

    lacking = {c.name: F.lit(c.default).cast(c.type) for c in EVENTS.columns if c.name not in rows.columns}
    return EVENTS.select(rows.withColumns({**lacking, "event_date": F.to_date("event_ts")}))
