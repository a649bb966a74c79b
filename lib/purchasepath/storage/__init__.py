"""Where tables live: Spark session, snapshots, warehouse."""

from __future__ import annotations

from pyspark.sql import SparkSession

from purchasepath.config import Config
from purchasepath.storage.hive import HiveWarehouse
from purchasepath.storage.warehouse import EmbeddedWarehouse, Warehouse


def open_warehouse(spark: SparkSession, config: Config) -> Warehouse:
    """The warehouse that `warehouse.catalog` names."""
    kind = HiveWarehouse if config.warehouse.catalog == "hive" else EmbeddedWarehouse
    return kind(spark, config)
