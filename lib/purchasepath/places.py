"""Paths of the configuration, seen from the root: executors, ranks and later commands stand in other directories."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
_GLOB = re.compile(r"([\[\]{}*?\\])")
_BETWEEN = re.compile(r"(?<!\\),(?!(?:[^{}]|\{[^{}]*\})*\})")  # braces may hold braces


def is_uri(path: str) -> bool:
    """Whether `path` names a file system (`hdfs://…`, `s3a://…`, `file:/…`); a colon in a name is no scheme."""
    return _URI.match(path) is not None


def absolute(path: str) -> str:
    """`path` from the root, as seen from the working directory. Absolute paths, URIs and '' stay as they are; `~/` is
    the user's directory, which no shell puts in behind a `=`."""
    path = _from_home(path)
    return path if not path or is_uri(path) or os.path.isabs(path) else str(Path.cwd() / path)


def absolute_each(paths: str) -> str:
    """The same for several paths joined by ',', among them globs.

    In the part that is put before a glob, what a glob would take for its own is escaped; a comma of the working
    directory's name becomes `\\,`.
    """
    return ",".join(path if is_uri(path) or os.path.isabs(path) else
                    _BETWEEN.sub(r"\\,", _absolute_pattern(path.replace("\\,", ",")))
                    for path in map(_from_home, _parts(paths)))


def absolute_file(path: str) -> str:
    """The same where Python reads and writes files. Raises ValueError for a URI, which it would take for a name."""
    if is_uri(path):
        raise ValueError("expected a path of plain files (on a cluster one that every node mounts), not an address")
    return absolute(path)


def absolute_bundle(reference: str) -> str:
    """The same for a bundle's directory; `latest` and models:/… are none."""
    return reference if reference == "latest" or reference.startswith("models:") else absolute(reference)


def split_paths(paths: str) -> list[str]:
    """The paths joined by ','. A comma inside a glob's {a,b} does not separate, and `\\,` is one of a name."""
    return [part.replace("\\,", ",") for part in _parts(paths)]


def literal_path(path: str) -> str:
    """`path` with glob characters escaped: Spark takes every path it is given for a glob."""
    return _GLOB.sub(r"\\\1", path)


def as_spark_path(file: Path) -> str:
    """A plain file as Spark is to be told of it: not on the cluster's default file system, and no glob."""
    return f"file:{literal_path(str(file))}"


def local_path(path: str) -> str:
    """`file:/a/b` as `/a/b`, letter by letter as Hadoop takes it; other paths as they are."""
    return re.sub(r"^file:/+", "/", path)


def glob_root(path: str) -> str:
    """`path`, or the deepest directory that stands before its first glob character."""
    found = re.search(r"(?<!\\)[\[{*?]", path)
    plain = path if found is None else path[: found.start()].rpartition("/")[0] or "/"
    return re.sub(r"\\(.)", r"\1", plain)


def _parts(paths: str) -> list[str]:
    return [part.strip() for part in _BETWEEN.split(paths) if part.strip()]


def _from_home(path: str) -> str:
    return os.path.expanduser(path) if path == "~" or path.startswith("~/") else path


def _absolute_pattern(path: str) -> str:
    here = str(Path.cwd())
    if _GLOB.search(path) and not os.path.lexists(path):
        here = literal_path(here)
    return str(Path(here, path))


Place = Annotated[str, AfterValidator(absolute)]
"""A knob's type: a path on any file system."""
Places = Annotated[str, AfterValidator(absolute_each)]
FilePlace = Annotated[str, AfterValidator(absolute_file)]
BundlePlace = Annotated[str, AfterValidator(absolute_bundle)]
