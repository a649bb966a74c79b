"""A directory on any file system Spark can reach: the few operations that staging and renaming need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class Directory:
    """Local, HDFS or object store alike, through Hadoop's file systems."""

    def __init__(self, spark: SparkSession, path: str) -> None:
        self._spark = spark
        self._hadoop: Any = spark.sparkContext._jvm.org.apache.hadoop.fs  # type: ignore[union-attr]
        self.path = path.rstrip("/")
        self._here = self._hadoop.Path(self.path)
        self._files = self._here.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration())

    def child(self, name: str) -> str:
        return f"{self.path}/{name}"

    def sibling(self, suffix: str) -> Directory:
        """A hidden directory beside this one, so that a rename stays within one file system."""
        parent, _, name = self.path.rpartition("/")
        hidden = f".{name}.{suffix}"
        return Directory(self._spark, f"{parent}/{hidden}" if parent else hidden)

    def exists(self, child: str = "") -> bool:
        return bool(self._files.exists(self._path(child)))

    def is_empty(self) -> bool:
        return len(self._files.listStatus(self._here)) == 0

    def delete(self) -> None:
        """Deletes the directory with all it holds; nothing happens where there is none."""
        self._files.delete(self._here, True)

    def write_text(self, child: str, text: str) -> None:
        stream = self._files.create(self._path(child), True)
        try:
            stream.write(bytearray(text, "utf-8"))
        finally:
            stream.close()

    def move_to(self, target: Directory) -> None:
        """Takes the place of `target`; if the rename fails, the old one is put back."""
        old = target.sibling("old")
        if target.exists():
            old.delete()
            target._rename(old)
        elif "/" in target.path:
            self._files.mkdirs(target._here.getParent())
        try:
            self._rename(target)
        except BaseException:
            if old.exists() and not target.exists():
                old._rename(target)
            raise
        old.delete()

    def _rename(self, to: Directory) -> None:
        if not self._files.rename(self._here, to._here):
            raise OSError(f"renaming {self.path} to {to.path} failed")

    def _path(self, child: str) -> Any:
        return self._hadoop.Path(self.child(child)) if child else self._here
