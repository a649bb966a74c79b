"""Files on any file system that Spark reaches: the few operations that a commit of the Hive warehouse needs."""

from __future__ import annotations

from typing import Any

from pyspark.sql import SparkSession


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

    def sizes(self, directory: str) -> dict[str, int]:
        """Path below the directory → bytes, of all files below it but those that engines pass over."""
        file_system, target = self._open(directory)
        found, sizes = file_system.listFiles(target, True), {}
        while found.hasNext():
            status = found.next()
            name = status.getPath().toString().removeprefix(f"{directory}/")
            if not any(part.startswith(("_", ".")) for part in name.split("/")):
                sizes[name] = int(status.getLen())
        return sizes

    def remove(self, path: str) -> None:
        file_system, target = self._open(path)
        file_system.delete(target, True)

    def make_private(self, path: str) -> None:
        """A directory that nobody but its owner may enter, made where it is not; object stores know no such thing."""
        file_system, target = self._open(path)
        file_system.mkdirs(target)
        file_system.setPermission(target, self._jvm.org.apache.hadoop.fs.permission.FsPermission("700"))

    def _open(self, path: str) -> tuple[Any, Any]:
        target = self._jvm.org.apache.hadoop.fs.Path(path)
        return target.getFileSystem(self._conf), target
