"""What runs wrote to a Hive warehouse, file by file: `_files.json` in each run's directory of a table.

Checked once per process when a table is read: that the files below every location that the metastore names are those
that the run wrote there. Their contents are known by the digests of `contents.py` where the driver opens files itself,
by HDFS's own file checksums, and by nothing but their sizes on file systems that have none (object stores): there the
checksums of pages have to do. The list's own digest is a property of the metastore's table. Runs of releases that kept
no lists are taken as they are found.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Protocol

from py4j.protocol import Py4JJavaError

from purchasepath.errors import DamagedWarehouseError
from purchasepath.storage.contents import FILE_NAME, WHOLE_BYTES, Contents, FileFacts, digest_of_text

LIST_OF = "purchasepath.files."
"""Property of a table: the digest of the list of the run that follows."""
NO_ROWS = "_none"


class Files(Protocol):
    """What is asked of a file system."""

    def exists(self, path: str) -> bool: ...

    def read(self, path: str) -> str: ...

    def write(self, path: str, text: str) -> None: ...

    def describe(self, directory: str) -> dict[str, FileFacts]:
        """Path below the directory → the file, of all files below it but those that engines pass over."""

    def faults_in(self, directory: str, contents: Contents, *, whole: bool) -> Iterator[str]:
        """What is not as written, a line per file."""


def write_list(files: Files, location: str) -> str:
    """Name every file of a run's directory of a table; the list's digest."""
    listed = {name: asdict(facts) for name, facts in files.describe(location).items()}
    text = json.dumps(listed, indent=0, sort_keys=True) + "\n"
    files.write(f"{location}/{FILE_NAME}", text)
    return digest_of_text(text)


def by_run(root: str, locations: list[str]) -> dict[str, list[str]]:
    """Run → the partitions that it wrote, '' for the whole table; `root`: the table's directory."""
    runs: dict[str, list[str]] = {}
    for location in locations:
        run, _, partition = location.removeprefix(f"{root}/").partition("/")
        if location.startswith(f"{root}/") and run != NO_ROWS:
            runs.setdefault(run, []).append(partition)
    return dict(sorted(runs.items()))


def live_contents(files: Files, root: str, locations: list[str], digests: Mapping[str, str]
                  ) -> dict[str, dict[str, FileFacts] | None]:
    """Location → path below it → the file as its run wrote it; None where the run kept no list.

    `digests`: run → digest of its list. Raises DamagedWarehouseError, naming every list and run that is gone.
    """
    found: dict[str, dict[str, FileFacts] | None] = {}
    faults = []
    for run, partitions in by_run(root, locations).items():
        place = f"{root}/{run}"
        try:
            listed = _read_list(files, place, digests.get(run))
        except DamagedWarehouseError as damage:
            faults += damage.faults
            continue
        for partition in partitions:
            prefix = f"{partition}/" if partition else ""
            found[f"{place}/{partition}".rstrip("/")] = None if listed is None else {
                name.removeprefix(prefix): facts for name, facts in listed.items() if name.startswith(prefix)}
    if faults:
        raise DamagedWarehouseError(faults)
    return found


def faults_of(files: Files, contents: Mapping[str, Contents | None], *, whole: bool | None = None) -> Iterator[str]:
    """What is not as written. `whole`: whether digests of everything are compared; by default where that is little."""
    if whole is None:
        whole = sum(facts.bytes for listed in contents.values() for facts in (listed or {}).values()) <= WHOLE_BYTES
    for location, listed in contents.items():
        if listed is not None:
            yield from files.faults_in(location, listed, whole=whole)


def _read_list(files: Files, run: str, digest: str | None) -> dict[str, FileFacts] | None:
    if not files.exists(f"{run}/{FILE_NAME}"):
        if digest is None and files.exists(run):
            return None
        missing = f"{run}/{FILE_NAME}: the list of its files is missing" if files.exists(run) else f"{run}: is missing"
        raise DamagedWarehouseError([missing])
    try:
        text = files.read(f"{run}/{FILE_NAME}")
    except Py4JJavaError as failure:
        cause = failure.java_exception.getMessage()
        raise DamagedWarehouseError([f"{run}/{FILE_NAME}: the list of its files cannot be read ({cause})"]) from None
    if digest is not None and digest_of_text(text) != digest:
        raise DamagedWarehouseError([f"{run}/{FILE_NAME}: the list of its files is not the one that was committed"])
    return {name: FileFacts(**facts) for name, facts in json.loads(text).items()}
