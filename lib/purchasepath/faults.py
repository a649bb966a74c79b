"""Whose fault a failure is: the user's where a file is damaged or a configured path cannot be used, or ours."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from purchasepath.config import Config
from purchasepath.errors import DamagedFileError

_NO_SPACE = ("No space left on device", "Disk quota exceeded")
_MEANINGS = {
    "PATH_NOT_FOUND": "a path in the configuration does not exist",
    "Permission denied": "a file or directory may not be written or read by this user",
    "Operation not permitted": "a file or directory may not be written or read by this user",
    "Read-only file system": "a file or directory to be written lies where nothing can be: give another path",
    "Not a directory": "a directory was expected where there is a file: give another path",
    "Is a directory": "a file was expected where there is a directory: give another path",
    "File name too long": "a path is longer than the file system takes: give a shorter one",
    "Too many levels of symbolic links": "a link leads to itself: give another path",
}
_IN_THE_WAY = "File exists"
"""Where it is said of a configured path or one above it, a file stands where a directory is to be made. Of a file below
it, it would be a defect."""
_OF_CLUSTERS = {
    "A secret key must be specified": "spark.authenticate is on (conf/spark/cluster.conf) and no secret is known: put "
    "spark.authenticate.secret into the cluster's spark-defaults.conf, as docs/cluster.md tells",
    "stopped SparkContext": "Spark has ended this application; the lines above say why. Where the cluster never took "
    "it: is the master's address right, and is spark.authenticate.secret the cluster's?",
}
_OF_FILES = re.compile(r"\[Errno \d+\]|\[PATH_NOT_FOUND\]|"
                       r"\b\w*(?:IO|FileNotFound|AccessDenied|AccessControl|FileSystem|NotDirectory)\w*Exception\b")
"""What the line of a failure says that comes from the file system, in Python, in the JVM or in a worker."""
_QUOTED = re.compile(r"'(/[^']+)'")
_TOLD_IN_TASK = re.compile(r"^purchasepath\.errors\.(DamagedFile|FileSystem)Error: (?P<told>.+)$", re.MULTILINE)
_UNREAD_BY_SPARK = re.compile(r"\[FAILED_READ_FILE\.(NO_HINT|FILE_NOT_EXIST|CANNOT_READ_FILE_FOOTER)\] "
                              r"Encountered error while reading file (?P<file>\S.*?)\.(\s|$)")


def explain_failure(error: BaseException, config: Config | None = None) -> str | None:
    """One clear message where the disk is full, a file is damaged, or the file system refuses a path of the
    configuration; None for all others: a defect of ours may speak of permissions, too."""
    text = str(error)
    if told := _TOLD_IN_TASK.search(text):
        return told["told"]
    if unread := _UNREAD_BY_SPARK.search(text):
        causes = re.findall(r"^Caused by: [\w.$]+: (.+)$", text, re.MULTILINE)
        return str(DamagedFileError(unread["file"], f"Spark cannot read it ({(causes or ['it is not there'])[-1]})"))
    places = _places(config) if config else []
    for line in _lines(error):
        if any(sign in line for sign in _NO_SPACE):
            return f"the disk is full: free some space (tables are as they were) and run this again\n  {line[:300]}"
        for sign, meaning in _OF_CLUSTERS.items():
            if sign in line:
                return f"{meaning}\n  {line[:300]}"
        if _IN_THE_WAY in line and _OF_FILES.search(line) and _stands_in_the_way(line, places):
            return f"{_MEANINGS['Not a directory']}\n  {line[:300]}"
        for sign, meaning in _MEANINGS.items():
            if sign in line and _OF_FILES.search(line) and _names_one(line, places):
                return f"{meaning}\n  {line[:300]}"
    return None


def _lines(error: BaseException) -> Iterator[str]:
    """Of the failure's text and of what caused it."""
    seen: BaseException | None = error
    while seen is not None:
        yield from (line.strip() for line in str(seen).splitlines())
        seen = seen.__cause__


def _names_one(line: str, places: Sequence[str]) -> bool:
    """Whether a place, something below it or a directory above it is named."""
    above = [path.rstrip("/") + "/" for path in _QUOTED.findall(line)]
    return any(place in line or any(place.startswith(path) for path in above) for place in places)


def _stands_in_the_way(line: str, places: Sequence[str]) -> bool:
    return any(f"{place}/".startswith(path.rstrip("/") + "/") for path in _QUOTED.findall(line) for place in places)


def _places(config: Config) -> list[str]:
    """Paths of the configuration from the root, up to where a glob begins; and the directory for scratch."""
    given = [*config.paths.raw.split(","), *config.paths.model_dump(exclude={"raw"}).values(),
             config.ingest.pseudonym_key_file, config.tracking.artifacts, config.ingest.source, config.score.bundle,
             config.training.start_from, config.tracking.uri.removeprefix("sqlite:///")]
    named = [re.split(r"[*?\[{]", path.strip())[0].removeprefix("file:") for path in given]
    return [str(Path(path).absolute()) for path in named if path.strip("/")] + [tempfile.gettempdir()]
