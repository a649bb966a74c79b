"""Raw files: which there are, which input of a mapping reads them, and how they begin.

Files are found and looked into through Hadoop's file systems, so `paths.raw` may name local paths as well as
hdfs://, s3a:// and so on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch, fnmatchcase
from pathlib import PurePosixPath
from typing import Any

from pyspark.sql import SparkSession

from purchasepath.errors import InputError
from purchasepath.places import split_paths
from purchasepath.sources.mapping import Source
from purchasepath.sources.signatures import other_format

HEAD_BYTES = 64 * 1024
HEAD_LINES = 20
MOST_LINE_BYTES = 64 * 1024 * 1024
"""A first line longer than this is taken for a file without lines."""

LOCAL = "file:"
_RAW_LOCAL = {"fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem", "fs.file.impl.disable.cache": "true"}
"""Hadoop's usual local file system looks for a checksum beside a file, and fails on a name with a colon."""


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

    Hidden files and directories (names that start with `.` or `_`) are left out, as Spark does, unless a path names
    them. Links are followed, but no file is read twice. Raises InputError when a path does not exist or nothing is
    found.
    """
    given = split_paths(paths)
    found: dict[str, RawFile] = {}
    missing = []
    for path in given:
        roots = _roots(spark, path)
        if not roots:
            missing.append(path)
        for status in roots:
            for file in _files_below(spark, status):
                found.setdefault(_real_path(file.path), file)
    if missing or not given:
        raise InputError(
            f"no such file or directory: {', '.join(missing) or 'paths.raw is empty'}; "
            f"give existing raw files with --set paths.raw=<file, directory or glob>"
        )
    if not found:
        raise InputError(f"expected raw event files in {paths}, found none (hidden files do not count)")
    return sorted(found.values(), key=lambda file: file.path)


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


def read_head(spark: SparkSession, file: RawFile, most: int = HEAD_LINES) -> list[str]:
    """The first lines (at most `most`, and whole) of a text file, unpacked; [] for an empty file.

    Reads 64 KiB, or as much as the first line takes. Raises InputError where the file is no text of lines.
    """
    jvm: Any = spark._jvm
    hadoop = hadoop_conf(spark, [file])
    path = jvm.org.apache.hadoop.fs.Path(file.path)
    if not file.size:
        return []
    try:
        stream = path.getFileSystem(hadoop).open(path)
        try:
            codec = jvm.org.apache.hadoop.io.compress.CompressionCodecFactory(hadoop).getCodec(path)
            unpacked = codec.createInputStream(stream) if codec else stream
            content, ended = _first_bytes(unpacked)
        finally:
            stream.close()
    except Exception as failure:  # py4j wraps whatever Java's file systems and codecs throw
        raise InputError(f"{file.path} cannot be read: {cause(failure)}; is it complete, and packed as its "
                         f"name says?") from None
    fault = other_format(content, file.name)
    if fault:
        raise InputError(f"{file.path} {fault}")
    lines = re.split(r"\r\n|\n|\r", content.decode("utf-8", errors="replace").removeprefix("\ufeff"))
    if not ended:
        cut = lines.pop()  # it goes on behind what we read
        if not any(line.strip() for line in lines) and cut.lstrip().startswith("["):
            return [cut[:HEAD_BYTES]]  # an array is one line, or as good as one
        if not lines:
            raise InputError(f"{file.path}: the first line does not end within {MOST_LINE_BYTES >> 20} MiB; expected "
                             f"one event per line. Write every event on a line of its own")
    return [line for line in lines if line.strip()][:most]


def _first_bytes(stream: Any) -> tuple[bytes, bool]:
    """The first 64 KiB, or more until a line has ended; and whether these are all."""
    content, wanted = b"", HEAD_BYTES
    while True:
        content += bytes(stream.readNBytes(wanted - len(content)))
        if len(content) < wanted:
            return content, True
        array = content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
        lines = re.split(rb"[\r\n]", content)[:-1]
        if wanted >= MOST_LINE_BYTES or array or any(line.strip() for line in lines):
            return content, False
        wanted *= 4


def hadoop_conf(spark: SparkSession, files: Sequence[RawFile]) -> Any:
    """Hadoop's configuration on the driver, fit for the names of `files`."""
    jvm: Any = spark._jvm
    usual: Any = spark._jsc.hadoopConfiguration()
    options = read_options(files)
    if not options:
        return usual
    conf = jvm.org.apache.hadoop.conf.Configuration(usual)
    for key, value in options.items():
        conf.set(key, value)
    return conf


def read_options(files: Sequence[RawFile]) -> dict[str, str]:
    """What Spark's readers must be told to read files of these names."""
    return dict(_RAW_LOCAL) if any(":" in f.path.removeprefix(LOCAL) for f in files if f.path.startswith(LOCAL)) else {}


def check_parquet(spark: SparkSession, file: RawFile) -> None:
    """Raise InputError unless the file begins and ends as Parquet does (a copy cut short does not)."""
    jvm: Any = spark._jvm
    path = jvm.org.apache.hadoop.fs.Path(file.path)
    stream = path.getFileSystem(hadoop_conf(spark, [file])).open(path)
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
    try:
        fs_path = jvm.org.apache.hadoop.fs.Path(path)
        fs = fs_path.getFileSystem(spark._jsc.hadoopConfiguration())
        if fs.exists(fs_path):
            return [fs.getFileStatus(fs_path)]
        matches = fs.globStatus(fs_path) or []
    except Exception as failure:  # unknown scheme, no credentials, a broken glob …
        raise InputError(f"{path} cannot be listed: {cause(failure)}") from None
    return [found for found in matches if not _hidden_match(path, found.getPath().toString())]


def _hidden_match(pattern: str, path: str) -> bool:
    """Whether wildcards of `pattern` alone stand for a hidden part of `path`; what is written out is meant."""
    parts = path.rstrip("/").split("/")[::-1]

    def means(plain: str) -> bool:
        asked_parts = re.sub(r"\\(.)", r"[\1]", plain).replace("[^", "[!").rstrip("/").split("/")[::-1]
        return all(fnmatchcase(part, asked) and (not _hidden(part) or _hidden(asked.lstrip("[")))
                   for part, asked in zip(parts, asked_parts, strict=False) if asked)

    return any(_hidden(part) for part in parts) and not any(means(plain) for plain in _without_braces(pattern))


def _without_braces(pattern: str) -> list[str]:
    """The patterns that a glob with `{a,b}` stands for."""
    found = re.search(r"(?<!\\)\{((?:[^{}\\]|\\.)*)\}", pattern)  # the first that holds no other
    if found is None:
        return [pattern]
    before, after = pattern[: found.start()], pattern[found.end():]
    choices = re.split(r"(?<!\\),", found[1])
    return [plain for choice in choices for plain in _without_braces(f"{before}{choice}{after}")]


def _hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def _files_below(spark: SparkSession, root: Any) -> Iterator[RawFile]:
    top = root.getPath().toString()
    if not root.isDirectory():
        yield RawFile(top, "", root.getLen())
    elif top.startswith(LOCAL):
        yield from _local_files_below(top, "", frozenset())
    else:
        listing = root.getPath().getFileSystem(spark._jsc.hadoopConfiguration()).listFiles(root.getPath(), True)
        while listing.hasNext():
            status = listing.next()
            path = status.getPath().toString()
            below = path.removeprefix(top).strip("/")
            if not any(_hidden(part) for part in below.split("/")):
                yield RawFile(path, below, status.getLen())


def _local_files_below(top: str, below: str, above: frozenset[str]) -> Iterator[RawFile]:
    """Files of the local directory `top`/`below`. A link to a directory `above` it is a loop and not followed."""
    path = f"{top}/{below}".rstrip("/")
    real = _real_path(path)
    if real in above:
        return
    with os.scandir(path.removeprefix(LOCAL)) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            name = f"{below}/{entry.name}".lstrip("/")
            if _hidden(entry.name):
                continue
            if entry.is_dir():
                yield from _local_files_below(top, name, above | {real})
            elif entry.is_file():  # no link that leads nowhere, no pipe
                yield RawFile(f"{top}/{name}", name, entry.stat().st_size)


def _real_path(path: str) -> str:
    """Where a local path leads, links followed; other paths as they are."""
    return os.path.realpath(path.removeprefix(LOCAL)) if path.startswith(LOCAL) else path


def cause(failure: Exception) -> str:
    """The first line of what Java said."""
    java = getattr(failure, "java_exception", None)
    return str(java.toString() if java is not None else failure).splitlines()[0]


def some_names(files: Sequence[RawFile]) -> str:
    """The first few names."""
    names = [file.name for file in files]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
