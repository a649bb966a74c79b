"""A bundle's way from the driver to the Python workers, where it is opened once."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

import torch
from pyspark.sql import SparkSession

from purchasepath.bundle.bundle import Bundle
from purchasepath.errors import BundleMismatchError
from purchasepath.models.build import PurchasePathModel
from purchasepath.storage.cargo import delivered, send_directory
from purchasepath.storage.executors import on_one_machine


@dataclass(frozen=True)
class Shipment:
    """Where a worker finds the bundle: what Spark has brought where `cargo` names it, else in its directory."""

    directory: str
    version: str
    cargo: str = ""

    def open(self) -> Bundle:
        """The bundle, whole and of the version that the driver chose."""
        place = delivered(self.cargo) if self.cargo else Path(self.directory)
        if not place.is_dir():
            raise BundleMismatchError(
                f"bundle {self.version} was expected on {platform.node()} in {place} and is not there"
            )
        bundle = Bundle.load(place)
        if bundle.version != self.version:
            raise BundleMismatchError(
                f"bundle {place} was expected to be version {self.version} and is {bundle.version}; "
                f"do not train into a directory that is being scored from"
            )
        return bundle


def ship(spark: SparkSession, bundle: Bundle, *, archive: bool | None = None) -> Shipment:
    """Makes the bundle reachable for every executor.

    On a cluster Spark brings it, so `paths.models` needs no mount for this, and a directory of the same name on a node
    is not mistaken for it; on one machine the directory itself is visible. `archive` overrules that choice.
    """
    travels = archive if archive is not None else not on_one_machine(spark)
    cargo = send_directory(spark, bundle.directory, f"bundle-{bundle.version}") if travels else ""
    return Shipment(str(bundle.directory.absolute()), bundle.version, cargo)


_opened: dict[Shipment, tuple[Bundle, PurchasePathModel]] = {}


def on_worker(shipment: Shipment, threads: int) -> tuple[Bundle, PurchasePathModel]:
    """The bundle and its model in this Python worker: opened for its first task, kept for the next ones."""
    if shipment not in _opened:
        _opened.clear()  # a worker serves one model at a time; an old one must not hold memory
        torch.set_num_threads(threads)
        bundle = shipment.open()
        _opened[shipment] = bundle, bundle.build()
    return _opened[shipment]


def cores_per_task(spark: SparkSession) -> int:
    """Cores that Spark gives each task, and so threads that torch may use in one."""
    return int(spark.sparkContext.getConf().get("spark.task.cpus", "1") or 1)
