"""The network interface that ranks and their services listen on: loopback on one machine, on a cluster one by name.

As released, Horovod's services (driver, tasks, rendezvous) and torch's store listen on all interfaces of a host.
"""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from purchasepath.errors import ConfigError, UserError
from purchasepath.storage.executors import ask_executors, on_one_machine

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from purchasepath.config import Training

_LOOPBACK = "127.0.0.1"


def choose_interface(spark: SparkSession, config: Training) -> str:
    """Name of the interface for this training; there on the driver's host and on those of all executors.

    On a cluster that of `training.network_interface`, or else the one by which executors reach the driver.
    """
    if on_one_machine(spark):
        return _interface_at(_LOOPBACK) or "lo"
    chosen = config.network_interface or _towards_executors(spark)
    if not chosen or chosen not in _addresses():
        found = f"`{chosen}`" if chosen else "none that executors are reached by"
        raise ConfigError([f"training.network_interface: found {found}; expected one of {', '.join(_addresses())}, "
                           "which every host has under the same name"])
    lacking = ask_executors(spark, _Lacks(chosen))
    if lacking:
        raise UserError(f"ranks meet on one network interface, `{chosen}`, which is not there on every host: "
                        f"{'; '.join(lacking)}; name one that is with --set training.network_interface=<name>")
    return chosen


def address_of(interface: str) -> str:
    """IPv4 address of an interface of this host."""
    try:
        return _addresses()[interface][0]
    except KeyError:
        raise UserError(f"{platform.node()} has no network interface `{interface}` with an IPv4 address, it has "
                        f"{', '.join(_addresses())}; give --set training.network_interface=<name>") from None


@contextmanager
def horovod_listens_on(interface: str) -> Iterator[None]:
    """Whatever service Horovod starts meanwhile, in this process, listens on this interface alone."""
    from horovod.runner.common.util import network as services
    from horovod.runner.http import http_server
    from horovod.runner.util import network

    address = address_of(interface)

    def find_port(make_server: Any) -> tuple[Any, int]:
        server = make_server((address, 0))  # 0: a port that is free
        return server, server.socket.getsockname()[1]

    changes = [(services, "find_port", find_port), (http_server, "find_port", find_port),
               (network, "get_driver_ip", lambda _: address)]
    released = [(module, name, getattr(module, name)) for module, name, _ in changes]
    try:
        for module, name, ours in changes:
            setattr(module, name, ours)
        yield
    finally:
        for module, name, theirs in released:
            setattr(module, name, theirs)


@contextmanager
def horovod_tasks_listen_on(interface: str) -> Iterator[None]:
    """The same in the driver, and in the Spark tasks in which Horovod starts ranks."""
    from horovod.spark import runner

    released = runner._task_fn
    runner._task_fn = run_horovod_task
    try:
        with horovod_listens_on(interface):
            yield
    finally:
        runner._task_fn = released


def run_horovod_task(index: int, driver_addresses: Any, key: Any, settings: Any, *options: Any) -> Any:
    """Horovod's own `_task_fn`, on the interface that its driver was told of. Runs in a Spark task.

    Horovod starts ranks with this process's environment, and Spark has brought the package to this process alone.
    """
    from horovod.spark.runner import _task_fn

    before = os.environ.get("PYTHONPATH")
    library = str(Path(__file__).parents[2])  # a directory, or the zip of --py-files
    os.environ["PYTHONPATH"] = os.pathsep.join(part for part in (library, before) if part)
    try:
        with horovod_listens_on(next(iter(settings.nics))):
            return _task_fn(index, driver_addresses, key, settings, *options)
    finally:
        os.environ["PYTHONPATH"] = before or ""


class _Lacks:
    """What a task does: says so where its host has no interface of this name."""

    def __init__(self, interface: str) -> None:
        self.interface = interface

    def __call__(self, _: Iterable[int]) -> Iterator[str]:
        if self.interface not in _addresses():
            yield f"{platform.node()} has {', '.join(_addresses())}"


def _addresses() -> dict[str, list[str]]:
    """IPv4 addresses of every interface that has one."""
    found = {name: [a.address for a in addresses if a.family == socket.AF_INET]
             for name, addresses in psutil.net_if_addrs().items()}
    return {name: addresses for name, addresses in found.items() if addresses}


def _interface_at(address: str) -> str | None:
    return next((name for name, addresses in _addresses().items() if address in addresses), None)


def _towards_executors(spark: SparkSession) -> str | None:
    """The interface with the driver's address, or else the one by which the system would reach an executor."""
    context: Any = spark.sparkContext
    try:
        named = _interface_at(socket.gethostbyname(context.getConf().get("spark.driver.host")))
    except OSError:
        named = None
    if named:
        return named
    known = context._jsc.sc().getExecutorMemoryStatus().keys().mkString(",").split(",")
    for host in {address.rpartition(":")[0] for address in known}:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((host, 9))  # nothing is sent
                found = _interface_at(probe.getsockname()[0])
            except OSError:
                continue
        if found and found != _interface_at(_LOOPBACK):
            return found
    return None
