"""Raw files: which there are, which input of a mapping reads them, and how they begin.

Files are found and looked into through Hadoop's file systems, so `paths.raw` may name local paths as well as
hdfs://, s3a:// and so on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import Any

from pyspark.sql import SparkSession

from purchasepath.errors import InputError
from purchasepath.places import split_paths
from purchasepath.sources.mapping import Source

HEAD_BYTES = 64 * 1024
HEAD_LINES = 20


@dataclass(frozen=True)
class RawFile:
    """One file; `below` is its path below the directory it was found in ('' where the file itself was given)."""

    path: str
    below: str
    size: int

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    def matches(self, pattern: str) -> bool:
        return fnmatch(self.name, pattern) or fnmatch(self.below, pattern)


def find_files(spark: SparkSession, paths: str) -> list[RawFile]:
    """Every file of `paths`: files, directories (all below them) and globs, joined by ','; sorted, each once.

    Hidden files (names that start with `.` or `_`) are left out, as Spark does. Raises InputError when a path
    does not exist or nothing is found.
    """
    given = split_paths(paths)
    found: dict[str, RawFile] = {}
    missing = []
    for path in given:
        roots = _roots(spark, path)
        if not roots:
            missing.append(path)
        for status in roots:
            found |= {file.path: file for file in _files_below(spark, status)}
    if missing or not given:
        raise InputError(
            f"no such file or directory: {', '.join(missing) or 'paths.raw is empty'}; "
            f"give existing raw files with --set paths.raw=<file, directory or glob>"
        )
    if not found:
        raise InputError(f"expected raw event files in {paths}, found none (hidden files do not count)")
    return [found[path] for path in sorted(found)]


def assign_files(source: Source, files: Sequence[RawFile]) -> tuple[dict[str, list[RawFile]], list[RawFile]]:
    """Input name → its files, and the files that belong to none (those of `ignore` aside).

    A file goes to the first input it matches. Raises InputError when an input that is not optional has none.
    """
    only = len(source.inputs) == 1
    assigned: dict[str, list[RawFile]] = {i.name: [] for i in source.inputs}
    left_out = []
    for file in files:
        taker = next((i for i in source.inputs if file.matches(i.files) or (only and not file.below)), None)
        if taker:
            assigned[taker.name].append(file)
        elif not any(file.matches(pattern) for pattern in source.ignore):
            left_out.append(file)
    lacking = [i for i in source.inputs if not assigned[i.name] and not i.optional]
    if lacking or not any(assigned.values()):
        wanted = ", ".join(f"`{i.files}` for {i.name}" for i in lacking or source.inputs)
        raise InputError(
            f"source {source.name}: expected files named {wanted}; found {some_names(files)}. "
            f"Rename the files, or adapt `files` in the mapping"
        )
    return assigned, left_out


def read_head(spark: SparkSession, file: RawFile) -> list[str]:
    """The first lines (at most 20, within 64 KiB) of a text file, unpacked; [] for an empty file."""
    jvm: Any = spark._jvm
    hadoop: Any = spark._jsc.hadoopConfiguration()
    path = jvm.org.apache.hadoop.fs.Path(file.path)
    try:
        stream = path.getFileSystem(hadoop).open(path)
        try:
            codec = jvm.org.apache.hadoop.io.compress.CompressionCodecFactory(hadoop).getCodec(path)
            content = bytes((codec.createInputStream(stream) if codec else stream).readNBytes(HEAD_BYTES))
        finally:
            stream.close()
    except Exception as failure:  # py4j wraps whatever Java's file systems and codecs throw
        raise InputError(f"{file.path} cannot be read: {_cause(failure)}; is it complete, and packed as its "
                         f"name says?") from None
    if content.startswith(b"\x1f\x8b") and codec is None:
        raise InputError(f"{file.path} is packed by gzip but not named so; rename it to {file.name}.gz")
    return _lines(content)


def _lines(content: bytes) -> list[str]:
    lines = re.split(r"\r\n|\n|\r", content.decode("utf-8", errors="replace").removeprefix("\ufeff"))
    if len(content) >= HEAD_BYTES and len(lines) > 1:
        lines.pop()  # it may go on behind what we read
    return [line for line in lines if line.strip()][:HEAD_LINES]


def check_parquet(spark: SparkSession, file: RawFile) -> None:
    """Raise InputError unless the file begins and ends as Parquet does (a copy cut short does not)."""
    jvm: Any = spark._jvm
    path = jvm.org.apache.hadoop.fs.Path(file.path)
    stream = path.getFileSystem(spark._jsc.hadoopConfiguration()).open(path)
    try:
        first = bytes(stream.readNBytes(4))
        stream.seek(max(file.size - 4, 0))
        last = bytes(stream.readNBytes(4))
    finally:
        stream.close()
    if (first, last) != (b"PAR1", b"PAR1"):
        fault = "is empty" if not file.size else "is not a complete Parquet file (its end is missing)" \
            if first == b"PAR1" else f"is not a Parquet file (it begins with {first!r})"
        raise InputError(f"{file.path} {fault}; expected Parquet, as the source mapping says")


def _roots(spark: SparkSession, path: str) -> list[Any]:
    """Statuses of the file or directory `path`, or of what it matches as a glob."""
    jvm: Any = spark._jvm
    fs_path = jvm.org.apache.hadoop.fs.Path(path)
    try:
        fs = fs_path.getFileSystem(spark._jsc.hadoopConfiguration())
        return [fs.getFileStatus(fs_path)] if fs.exists(fs_path) else list(fs.globStatus(fs_path) or [])
    except Exception as failure:  # unknown scheme, no credentials, a broken glob …
        raise InputError(f"{path} cannot be listed: {_cause(failure)}") from None


def _files_below(spark: SparkSession, root: Any) -> list[RawFile]:
    top = root.getPath().toString()
    if not root.isDirectory():
        return [RawFile(top, "", root.getLen())]
    fs = root.getPath().getFileSystem(spark._jsc.hadoopConfiguration())
    files, listing = [], fs.listFiles(root.getPath(), True)
    while listing.hasNext():
        status = listing.next()
        path = status.getPath().toString()
        below = path.removeprefix(top).strip("/")
        if not any(part.startswith((".", "_")) for part in below.split("/")):
            files.append(RawFile(path, below, status.getLen()))
    return files


def _cause(failure: Exception) -> str:
    java = getattr(failure, "java_exception", None)
    return str(java.toString() if java is not None else failure).splitlines()[0]


def some_names(files: Sequence[RawFile]) -> str:
    """The first few names."""
    names = [file.name for file in files]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
