"""a Spark job
counts and joins, one Python worker
look at `java -version` (17 is expected) and at free memory (2 GB); then run: make setup"""

from __future__ import annotations

import json

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

builder = SparkSession.builder.master("local[2]").appName("doctor").config("spark.ui.enabled", "false")
spark = builder.config("spark.driver.memory", "512m").config("spark.sql.shuffle.partitions", "2").getOrCreate()
spark.sparkContext.setLogLevel("OFF")
numbers = spark.range(1000)
pairs = numbers.join(numbers.withColumn("twice", F.col("id") * 2), on="id", how="inner")
doubled = pairs.mapInArrow(lambda batches: batches, "id long, twice long").agg(F.sum("twice")).first()
spark.stop()
if doubled is None or doubled[0] != 999_000:
    raise SystemExit(f"expected a sum of 999000, got {doubled}")
print(json.dumps({"found": "1,000 rows joined, through an Arrow worker"}))
