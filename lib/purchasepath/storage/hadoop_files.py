"""Files on any file system that Spark reaches: the few operations that a commit of the Hive warehouse needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pyspark.sql import SparkSession

from purchasepath.storage import contents
from purchasepath.storage.contents import Contents, FileFacts


class HadoopFiles:
    """The file systems of a session; paths are URIs, or paths of its default one."""

    def __init__(self, spark: SparkSession) -> None:
        self._jvm: Any = spark.sparkContext._jvm
        self._conf = spark.sparkContext._jsc.hadoopConfiguration()

    def qualified(self, path: str) -> str:
        file_system, target = self._open(path)
        return file_system.makeQualified(target).toString().rstrip("/")

    def write(self, path: str, text: str) -> None:
        """Whole or not at all: written beside its place, then renamed."""
        file_system, target = self._open(path)
        _, draft = self._open(path + ".draft")
        stream = file_system.create(draft, True)
        stream.write(text.encode("utf-8"))
        stream.close()
        file_system.rename(draft, target)

    def read(self, path: str) -> str:
        file_system, target = self._open(path)
        stream = file_system.open(target)
        try:
            return self._jvm.org.apache.commons.io.IOUtils.toString(stream, "UTF-8")
        finally:
            stream.close()

    def list(self, path: str) -> list[str]:
        """Finished journal files, oldest first."""
        file_system, target = self._open(path)
        if not file_system.exists(target):
            return []
        names = [status.getPath().toString() for status in file_system.listStatus(target)]
        return sorted(name for name in names if name.endswith(".json"))

    def exists(self, path: str) -> bool:
        file_system, target = self._open(path)
        return bool(file_system.exists(target))

    def describe(self, directory: str) -> dict[str, FileFacts]:
        """Path below the directory → the file, of all files below it but those that engines pass over."""
        if (here := _on_this_machine(directory)) is not None:
            return contents.describe(here)
        return {name: FileFacts(size, None, self._checksum(f"{directory}/{name}"), "")
                for name, size in self.sizes(directory).items()}

    def faults_in(self, directory: str, expected: Contents, *, whole: bool) -> Iterator[str]:
        """What is not as written, a line per file. `whole`: whether contents are compared where they are known."""
        if (here := _on_this_machine(directory)) is not None:
            yield from contents.faults_in(here, expected, whole=whole)
            return
        there = self.sizes(directory)
        for name in sorted(expected.keys() | there.keys()):
            file, written = f"{directory}/{name}", expected.get(name)
            if written is None:
                yield f"{file}: no commit wrote this file; move it away"
            elif name not in there:
                yield f"{file}: is missing"
            elif there[name] != written.bytes:
                yield f"{file}: has {there[name]:,} bytes, {written.bytes:,} were written"
            elif whole and written.digest and self._checksum(file) != written.digest:
                yield f"{file}: its content is not what was written (its digest differs)"

    def sizes(self, directory: str) -> dict[str, int]:
        """Path below the directory → bytes, of all files below it but those that engines pass over."""
        file_system, target = self._open(directory)
        if not file_system.exists(target):
            return {}
        found, sizes = file_system.listFiles(target, True), {}
        while found.hasNext():
            status = found.next()
            name = status.getPath().toString().removeprefix(f"{directory}/")
            if not any(part.startswith(("_", ".")) for part in name.split("/")):
                sizes[name] = int(status.getLen())
        return sizes

    def make_directory(self, path: str) -> None:
        file_system, target = self._open(path)
        file_system.mkdirs(target)

    def move(self, source: str, target: str) -> None:
        """A file to its place below a directory that is there. Raises OSError where it is not moved."""
        file_system, old = self._open(source)
        if not file_system.rename(old, self._open(target)[1]):
            raise OSError(f"{source} could not be moved to {target}")

    def remove(self, path: str) -> None:
        file_system, target = self._open(path)
        file_system.delete(target, True)

    def make_private(self, path: str) -> None:
        """A directory that nobody but its owner may enter, made where it is not; object stores know no such thing."""
        file_system, target = self._open(path)
        file_system.mkdirs(target)
        file_system.setPermission(target, self._jvm.org.apache.hadoop.fs.permission.FsPermission("700"))

    def _checksum(self, path: str) -> str:
        """What the file system keeps of the contents, such as HDFS's checksum over its blocks'; '' if nothing."""
        file_system, target = self._open(path)
        kept = file_system.getFileChecksum(target)
        return "" if kept is None else f"{kept.getAlgorithmName()}:{bytes(kept.getBytes()).hex()}"

    def _open(self, path: str) -> tuple[Any, Any]:
        target = self._jvm.org.apache.hadoop.fs.Path(path)
        return target.getFileSystem(self._conf), target


def _on_this_machine(uri: str) -> Path | None:
    """The directory where Python opens it itself, with all its cores; else None."""
    parts = urlsplit(uri)
    return Path(uri.removeprefix("file://").removeprefix("file:")) if parts.scheme == "file" else None
