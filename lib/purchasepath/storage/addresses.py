"""Files by their addresses, wherever they lie: opened by Python itself, on the driver and in tasks.

An address is what Hadoop shows of a path: one of this machine's, `/shop/100% new`, or `scheme://authority/path`. What
stands behind the authority is a path as well, letter by letter: nothing in it is decoded. Files with a scheme are
opened by `pyarrow.fs`, which asks HDFS's own library (libhdfs) or talks to the object store itself; it takes keys,
regions and endpoints from where these stores' own tools do (docs/cluster.md), not from Spark's settings.
"""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from purchasepath.errors import FileSystemError
from purchasepath.places import is_uri, local_path

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

Address = str | Path
"""A `Path` is one of this machine's."""

_SAME_AS = {"s3a": "s3", "s3n": "s3"}
"""Hadoop's names for what `pyarrow.fs` calls otherwise."""
_KNOWN = {"hdfs": "hdfs", "viewfs": "hdfs", "s3": "s3", "gs": "gs", "gcs": "gs", "abfs": "abfs", "abfss": "abfs"}
_NEXT_STEP = {
    "hdfs": "set HADOOP_HOME (or ARROW_LIBHDFS_DIR), JAVA_HOME and CLASSPATH=$(hadoop classpath --glob) for the driver "
            "and, as spark.executorEnv.…, for the executors",
    "s3": "give keys, region and endpoint as AWS's own tools take them (AWS_ACCESS_KEY_ID, AWS_REGION, "
          "AWS_ENDPOINT_URL_S3, a role), to the executors as spark.executorEnv.…",
    "gs": "give the driver and the executors Google's application default credentials",
    "abfs": "give the driver and the executors Azure's default credentials",
}
_OTHERWISE = "give a path that every node mounts, or one on hdfs, viewfs, s3a, gs or abfss"
_AT_ONCE = 16 << 20


def address_of(path: str) -> str:
    """The address of a path as Hadoop shows it: `file:/a b` is `/a b`, others stay."""
    return local_path(path)


def address_of_uri(uri: str) -> str:
    """The address of a URI whose letters are encoded, as of `DataFrame.inputFiles`."""
    parts = urlsplit(uri)
    path = unquote(parts.path)
    return path if parts.scheme in ("", "file") else f"{parts.scheme}://{parts.netloc}{path}"


def is_local(address: Address) -> bool:
    """Whether it is a plain path of this machine."""
    return isinstance(address, Path) or address.startswith("/") or not is_uri(address)


def open_address(address: Address) -> tuple[FileSystem | None, str]:
    """The file system, None for this machine's own, and the path there. Raises FileSystemError."""
    if is_local(address):
        return None, str(address)
    scheme, _, rest = str(address).partition("://")
    authority, _, path = rest.partition("/")
    file_system, base = _connect(f"{scheme}://{authority}")
    return file_system, f"{base.rstrip('/')}/{path}"


def require_open(address: Address) -> None:
    """Raises FileSystemError where this process cannot look at the address: at whatever is there, or nothing."""
    file_system, path = open_address(address)
    if file_system is not None:
        try:
            file_system.get_file_info(path.rstrip("/"))
        except OSError as failure:
            raise _refusal(str(address), failure) from failure


def make_parent(address: Address) -> None:
    """The directory that a file will lie in; other file systems make it, or need none, when the file is written."""
    if is_local(address):
        Path(address).parent.mkdir(parents=True, exist_ok=True)


def copy_file(source: str, target: str) -> None:
    """A file that is never changed once more, on the same file system: here a second name, if that can be."""
    make_parent(target)
    file_system, here = open_address(target)
    if file_system is None:
        try:
            os.link(source, target)
        except OSError:  # between two disks, or where there are no links
            shutil.copyfile(source, target)
        return
    _, there = open_address(source)
    try:
        file_system.copy_file(there, here)
    except NotImplementedError:  # HDFS
        with file_system.open_input_stream(there) as old, file_system.open_output_stream(here) as new:
            shutil.copyfileobj(old, new, _AT_ONCE)


@cache
def _connect(root: str) -> tuple[FileSystem, str]:
    """(file system, what paths begin with), once per process: object stores are asked for the bucket's region."""
    from pyarrow.fs import FileSystem

    scheme, _, authority = root.partition("://")
    try:
        file_system, base = FileSystem.from_uri(f"{_SAME_AS.get(scheme, scheme)}://{authority}/")
    except (OSError, ValueError, NotImplementedError) as failure:
        raise _refusal(root, failure) from failure
    return file_system, str(base)


def _refusal(address: str, failure: Exception) -> FileSystemError:
    why = (str(failure).strip().splitlines() or [type(failure).__name__])[0]
    return FileSystemError(address, why, _NEXT_STEP.get(_KNOWN.get(address.partition("://")[0], ""), _OTHERWISE))
