"""A bundle's way from the driver to the Python workers, where it is opened once."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from pyspark import SparkFiles
from pyspark.sql import SparkSession

from purchasepath.bundle.bundle import Bundle
from purchasepath.errors import BundleMismatchError
from purchasepath.models.build import PurchasePathModel


@dataclass(frozen=True)
class Shipment:
    """Where a worker finds the bundle: in its directory where that is visible, else unpacked by Spark."""

    directory: str
    version: str
    archive: str

    def open(self) -> Bundle:
        """The bundle, whole and of the version that the driver chose."""
        places = [Path(self.directory), Path(SparkFiles.get(self.archive))]
        found = next((place for place in places if place.is_dir()), None)
        if found is None:
            raise BundleMismatchError(
                f"bundle {self.version} was expected on this executor at one of {', '.join(map(str, places))} "
                f"and is at none; put paths.models on storage that every executor mounts"
            )
        bundle = Bundle.load(found)
        if bundle.version != self.version:
            raise BundleMismatchError(
                f"bundle {found} was expected to be version {self.version} and is {bundle.version}; "
                f"do not train into a directory that is being scored from"
            )
        return bundle


def ship(spark: SparkSession, bundle: Bundle, *, archive: bool | None = None) -> Shipment:
    """Makes the bundle reachable for every executor.

    On a cluster it travels as an archive named after its version (`SparkContext.addFile` refuses local
    directories there); on one machine the directory itself is visible. `archive` overrules that choice.
    """
    name = f"bundle-{bundle.version}"
    if archive if archive is not None else not str(spark.sparkContext.master).startswith("local"):
        scratch = tempfile.mkdtemp(prefix="purchasepath-")
        atexit.register(shutil.rmtree, scratch, ignore_errors=True)  # executors may fetch it until the job ends
        packed = shutil.make_archive(f"{scratch}/{name}", "zip", bundle.directory)
        spark.sparkContext.addArchive(f"{packed}#{name}")
    return Shipment(str(bundle.directory.absolute()), bundle.version, name)


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
