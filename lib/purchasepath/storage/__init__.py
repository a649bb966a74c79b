"""Where tables live: Spark session, snapshots, warehouse, files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from purchasepath.config import Config

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from purchasepath.storage.warehouse import Warehouse


def open_warehouse(spark: SparkSession, config: Config) -> Warehouse:
    """The warehouse that `warehouse.catalog` names."""
    from purchasepath.storage.hive import HiveWarehouse
    from purchasepath.storage.warehouse import EmbeddedWarehouse

    kind = HiveWarehouse if config.warehouse.catalog == "hive" else EmbeddedWarehouse
    return kind(spark, config)
