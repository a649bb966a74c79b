"""Whether executors reach the files that a stage reads and writes: asked before it works, not found out after.

On one machine every task sees what the driver sees. Nodes of a cluster may not: what their tasks write into a directory
of their own is lost, for Spark commits what the driver sees. So a task on every executor looks for a file that the
driver has just written, or for names that the driver sees, in each local directory that the stage needs.
"""

from __future__ import annotations

import os
import platform
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.sql import SparkSession

from purchasepath.config import Config
from purchasepath.errors import FileSystemError, UserError
from purchasepath.places import glob_root, local_path, split_paths
from purchasepath.storage.addresses import address_of, is_local, require_open
from purchasepath.storage.executors import ask_executors, on_one_machine

_NAMES_LOOKED_FOR = 32


class UnreachablePathError(UserError):
    """Directories of the driver that executors do not see, or may not write."""

    def __init__(self, found: Iterable[str]) -> None:
        super().__init__(
            "executors have to reach the same files as the driver, and do not:\n"
            + "\n".join(f"  - {fault}" for fault in found)
            + "\ngive paths that every node mounts, under the same name (docs/cluster.md)"
        )


@dataclass(frozen=True)
class Need:
    """A path that tasks of a stage open. What `writes` says of a directory holds for what lies below it.

    `plain`: opened as a plain file, whatever Spark's default file system is. `by_python`: opened by the driver and by
    tasks themselves (`addresses.py`), on any file system.
    """

    knob: str
    path: str
    writes: bool = False
    plain: bool = False
    by_python: bool = False


def needs_of(stage: str, config: Config) -> list[Need]:
    """What tasks of this stage open; the driver alone reads and writes everything else (runs, report, bundles, key)."""
    paths = config.paths
    if stage == "simulate":  # written beside its place, then renamed
        return [Need("paths.raw", os.path.dirname(place.rstrip("/")), writes=True) for place in split_paths(paths.raw)]
    embedded = config.warehouse.catalog == "embedded"
    needs = [Need("paths.warehouse", paths.warehouse, writes=stage not in ("report", "sql"), plain=embedded,
                  by_python=stage == "sessionize" and not embedded)]
    if stage == "ingest":
        needs += [Need("paths.raw", place) for place in split_paths(paths.raw)]
    elif stage == "dataset":
        needs.append(Need("paths.dataset", paths.dataset, writes=True, plain=True))
        needs += [Need("paths.items", paths.items)] if paths.items and config.dataset.side_features else []
    elif stage == "evaluate":
        needs.append(Need("paths.dataset", paths.dataset, plain=True))
    elif stage == "train" and config.training.ranks > 1:
        needs += [Need("paths.dataset", paths.dataset, plain=True),
                  Need("paths.models", paths.models, writes=True, plain=True)]
    return needs


def require_reach(spark: SparkSession, needs: Sequence[Need]) -> None:
    """Raises UnreachablePathError, with every fault, where an executor does not reach one of the paths; and
    FileSystemError for a file system that the driver itself would have to open and cannot.

    Executors are asked on clusters only, those that are there by now, for directories of local file systems, and for
    others that they open themselves: Spark reaches these by name. What the driver does not find either is left to the
    stage, which says what is missing.
    """
    addresses = {need: _address(spark, need) for need in dict.fromkeys(needs) if need.by_python}
    for address in addresses.values():
        require_open(address)
    if on_one_machine(spark):
        return
    with _signs(spark, needs) as found:
        opened = [_Opened(need, address) for need, address in addresses.items() if not is_local(address)]
        signs: list[_Sign | _Opened] = [*found, *opened]
        if signs:
            faults = ask_executors(spark, _Look(signs))
            if faults:
                raise UnreachablePathError(faults)


@dataclass(frozen=True)
class _Sign:
    """By what a task knows that a path is the driver's: a file with a content of its own, or names that are there."""

    need: Need
    names: tuple[str, ...] = ()
    token: str = ""

    def fault(self) -> str | None:
        """What is wrong with the path here."""
        place = Path(self.need.path)
        try:
            if self.token and (place / self.names[0]).read_text(encoding="ascii") != self.token:
                return "another file is there than the one that the driver has written"
            missing = [name for name in self.names if not os.path.lexists(place / name)]
            if missing or not place.exists():
                return f"{missing[0]} is not there, which the driver sees" if missing else "it is not there"
            if not os.access(place, os.R_OK):
                return "it may not be read"
            if self.need.writes:
                own = place / f"{self.names[0]}.{secrets.token_hex(8)}"
                own.touch()
                own.unlink()
        except FileNotFoundError:
            return "a file that the driver has just written there is not there"
        except OSError as failure:
            return f"it may not be {'written' if self.need.writes else 'read'} ({failure.strerror})"
        return None


@dataclass(frozen=True)
class _Opened:
    """By what a task knows that it opens files of another file system: it does."""

    need: Need
    address: str

    def fault(self) -> str | None:
        try:
            require_open(self.address)
        except FileSystemError as failure:
            return str(failure)
        return None


class _Look:
    """What a task does."""

    def __init__(self, signs: Sequence[_Sign | _Opened]) -> None:
        self.signs = signs

    def __call__(self, _: Iterable[int]) -> Iterator[str]:
        for sign in self.signs:
            fault = sign.fault()
            if fault:
                yield f"{sign.need.knob} ({sign.need.path}) on {platform.node()}: {fault}"


@contextmanager
def _signs(spark: SparkSession, needs: Sequence[Need]) -> Iterator[list[_Sign]]:
    """What to look for in each local path; what the driver has written for it is gone afterwards."""
    with ExitStack() as stack:
        yield [sign for need in dict.fromkeys(needs) if (local := _as_local(spark, need))
               for sign in ([stack.enter_context(_written(local))] if need.writes else _seen(local))]


@contextmanager
def _written(need: Need) -> Iterator[_Sign]:
    place = Path(need.path)
    made = [folder for folder in (place, *place.parents) if not folder.exists()]
    token = secrets.token_hex(16)
    file = place / f".reached-{token}"
    try:
        place.mkdir(parents=True, exist_ok=True)
        file.write_text(token, encoding="ascii")
    except OSError as failure:
        raise UserError(f"{need.knob} ({place}) cannot be written ({failure.strerror}); give another path with "
                        f"--set {need.knob}=<directory>") from None
    try:
        yield _Sign(need, (file.name,), token)
    finally:
        file.unlink(missing_ok=True)
        for folder in made:  # a stage that fails leaves no trace of this
            if not any(folder.iterdir()):
                folder.rmdir()


def _seen(need: Need) -> list[_Sign]:
    place = Path(need.path)
    if not place.exists():
        return []
    return [_Sign(need, tuple(sorted(os.listdir(place))[:_NAMES_LOOKED_FOR]) if place.is_dir() else ())]


def _as_local(spark: SparkSession, need: Need) -> Need | None:
    """The need as a plain path, of a glob the directory that it begins in; None on a file system with a name."""
    if not need.plain:
        try:
            if not is_local(address_of(_qualified(spark, need.path))):
                return None
        except Py4JError:
            return None  # the stage says what is wrong with it
    place = local_path(need.path)
    return replace(need, path=place if os.path.lexists(place) else glob_root(place))


def _address(spark: SparkSession, need: Need) -> str:
    """Of what Spark reaches as well as Python."""
    try:
        return address_of(_qualified(spark, need.path))
    except Py4JJavaError as failure:
        why = failure.java_exception.toString().splitlines()[0]
        raise UserError(f"{need.knob} ({need.path}): Spark does not open this file system ({why}); put its connector "
                        "on the class path (--packages, --jars), or give another path with "
                        f"--set {need.knob}=<directory> (docs/cluster.md)") from None


def _qualified(spark: SparkSession, path: str) -> str:
    """With the scheme of its file system: `/logs` is what the default one calls so."""
    context: Any = spark.sparkContext
    target = context._jvm.org.apache.hadoop.fs.Path(path)
    return str(target.getFileSystem(context._jsc.hadoopConfiguration()).makeQualified(target).toString())
