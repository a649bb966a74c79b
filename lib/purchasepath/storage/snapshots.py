"""Snapshots of a directory of tables: readers pin one, a commit swaps in the next with one atomic rename.

Layout below the root:

    current -> snapshots/000007                 the newest state; replaced by renaming a symlink
    snapshots/000007/<table> -> data/…          one link per table; commit.json beside them
    data/<table>/<version>/…                    immutable files, Hive-style partition directories inside
    staging/<transaction>/<table>/…             not visible to anyone until its transaction commits

`current/<table>/` is an ordinary Hive-style Parquet directory to every engine. Files that a commit leaves
alone are hard links to the same files, so a commit costs what it changes, and a version may be removed
without harm to the later ones that share files with it.

Everything is guarded by kernel locks (flock), which end with the process that holds them: a reader's shared
lock on its snapshot keeps it from being removed; a writer's lock on its staging directory tells a running
transaction from the leftovers of a killed one, which the next commit removes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from purchasepath.errors import PublishError
from purchasepath.storage.files import make_private

_COMMIT_FILE = "commit.json"


class Snapshots:
    """All snapshots below one root. Cheap to make; touches the disk only when used."""

    def __init__(self, root: Path, *, keep: int, private: Collection[str] = ()) -> None:
        self.root = root.absolute()
        self.keep = keep
        self.private = private
        """Tables whose files their owner alone may read."""

    def pin(self) -> Snapshot | None:
        """The newest snapshot, protected from removal until it is released; None before the first commit."""
        current = self.root / "current"
        while current.exists():
            directory = current.resolve()
            try:
                lock = (directory / _COMMIT_FILE).open("rb")
            except FileNotFoundError:
                continue  # removed between resolving and opening: a newer one is current now
            fcntl.flock(lock, fcntl.LOCK_SH)
            if (directory / _COMMIT_FILE).exists():
                return Snapshot(directory, lock)
            lock.close()
        return None

    @contextmanager
    def staging(self, name: str) -> Iterator[Path]:
        """A directory of our own to stage files in, which nobody else may enter; gone afterwards."""
        directory = self.root / "staging" / name
        directory.mkdir(parents=True)
        directory.parent.chmod(0o700)
        with (directory / "owner").open("w") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX)
            try:
                yield directory
            finally:
                shutil.rmtree(directory, ignore_errors=True)

    def commit(self, staged: Mapping[str, StagedTable], facts: Mapping[str, Any], *, base: Snapshot | None) -> Path:
        """Make all staged tables visible at once, on top of whatever is current now.

        `base` is the snapshot the writer had read. Raises PublishError when somebody else has replaced one of
        the same partitions since, or has changed a table that we add rows to: theirs stands, ours is not applied.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            newest = self._newest()
            for table, change in staged.items():
                self._refuse_conflict(table, change, base, newest)
            number = int(newest.name) + 1 if newest else 1
            directory = self.root / "snapshots" / f"{number:06d}"
            shutil.rmtree(directory, ignore_errors=True)  # of a writer that was killed before its switch
            directory.mkdir(parents=True)
            if newest:
                for link in sorted(newest.iterdir()):
                    if link.is_symlink() and link.name not in staged:
                        (directory / link.name).symlink_to(os.readlink(link))
            for table, change in staged.items():
                version = self._move_in(table, change, newest, number)
                (directory / table).symlink_to(os.path.relpath(version, directory))
            commit = {"snapshot": number, "at": datetime.now(UTC).isoformat(), "tables": sorted(staged), **facts}
            (directory / _COMMIT_FILE).write_text(json.dumps(commit, indent=1, default=str) + "\n")
            self._hide_private()
            self._switch(directory)
            self._collect_garbage()
        return directory

    def _newest(self) -> Path | None:
        current = self.root / "current"
        return current.resolve() if current.exists() else None

    def _refuse_conflict(self, table: str, change: StagedTable, base: Snapshot | None, newest: Path | None) -> None:
        before = base.table(table) if base else None
        now = (newest / table).resolve() if newest and (newest / table).exists() else None
        depends_on = {""} if change.replaced is None or change.appends else change.replaced
        if before != now and any(_files_of(before, p) != _files_of(now, p) for p in depends_on):
            raise PublishError(
                f"table {table}: another job has published the same partitions while this one was running "
                f"({', '.join(sorted(depends_on)) or 'the whole table'}); theirs stands. "
                "Run this job again to build on it"
            )

    def _move_in(self, table: str, change: StagedTable, newest: Path | None, number: int) -> Path:
        version = self.root / "data" / table / f"{number:06d}"
        shutil.rmtree(version, ignore_errors=True)
        version.parent.mkdir(parents=True, exist_ok=True)
        os.rename(change.directory, version)
        old = newest / table if newest else None
        if change.replaced is not None and old is not None and old.exists():
            _link_partitions(old.resolve(), version, change.replaced)
        return version

    def _hide_private(self) -> None:
        """Also what earlier releases left open; new files come from staging, where nobody could see them."""
        for table in self.private:
            directory = self.root / "data" / table
            if directory.exists():
                make_private(directory)

    def _switch(self, directory: Path) -> None:
        fresh = self.root / f".current.{os.getpid()}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(os.path.relpath(directory, self.root))
        os.replace(fresh, self.root / "current")

    def _collect_garbage(self) -> None:
        """Remove snapshots nobody reads beyond the newest `keep`, then data and staging nobody refers to."""
        kept = sorted(p for p in (self.root / "snapshots").iterdir() if p.is_dir())
        for snapshot in kept[: -self.keep]:
            _remove_unless_locked(snapshot)
        links = (link for s in (self.root / "snapshots").iterdir() for link in s.iterdir() if link.is_symlink())
        used = {link.resolve() for link in links}
        for version in (self.root / "data").glob("*/*"):
            if version.resolve() not in used:
                shutil.rmtree(version, ignore_errors=True)
        for leftover in (self.root / "staging").glob("*"):
            _remove_unless_locked(leftover, "owner")


class Snapshot:
    """One immutable state of all tables; holds its lock until released (or the process ends)."""

    def __init__(self, directory: Path, lock: IO[bytes]) -> None:
        self.directory = directory
        self._lock = lock

    @property
    def name(self) -> str:
        return self.directory.name

    def table(self, name: str) -> Path | None:
        """Directory of the table's files, or None when it was never written."""
        link = self.directory / name
        return link.resolve() if link.exists() else None

    def fingerprints(self, name: str) -> dict[str, str]:
        """`a=1/b=x` of each partition of a table (`` without partitions) -> digest over its files' names, sizes, times.

        Files are never changed, and Spark names each with a fresh id: equal digests mean equal rows.
        """
        directory = self.table(name)
        lines: dict[str, list[str]] = {}
        for file in sorted(directory.rglob("*.parquet")) if directory else []:
            facts = file.stat()
            partition = str(file.parent.relative_to(directory or file)).removeprefix(".")
            lines.setdefault(partition, []).append(f"{file.name} {facts.st_size} {facts.st_mtime_ns}\n")
        return {partition: hashlib.sha256("".join(files).encode()).hexdigest() for partition, files in lines.items()}

    def release(self) -> None:
        self._lock.close()


class StagedTable:
    """Staged files of one table and what they replace: None = the whole table, else `a=1/b=x` partition paths.

    `appends`: the files may lie in other partitions too, beside the files that are there.
    """

    def __init__(self, directory: Path, replaced: frozenset[str] | None, *, appends: bool = False) -> None:
        self.directory = directory
        self.replaced = replaced
        self.appends = appends


def _files_of(table: Path | None, partition: str) -> list[tuple[str, int]]:
    """Relative paths and inodes of a partition's files: equal for hard links to the same files."""
    if table is None:
        return []
    return sorted((str(f.relative_to(table)), f.stat().st_ino) for f in (table / partition).rglob("*.parquet"))


def _link_partitions(old: Path, new: Path, replaced: frozenset[str]) -> None:
    for file in old.rglob("*.parquet"):
        partition = str(file.parent.relative_to(old))
        if partition in replaced:
            continue
        target = new / partition / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(file, target)


def _remove_unless_locked(directory: Path, lock_name: str = _COMMIT_FILE) -> None:
    try:
        lock = (directory / lock_name).open("rb")
    except OSError:
        shutil.rmtree(directory, ignore_errors=True)
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # somebody still reads or writes here
        shutil.rmtree(directory, ignore_errors=True)
