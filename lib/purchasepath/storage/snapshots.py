"""Snapshots of a directory of tables: readers pin one, a commit swaps in the next with one atomic rename.

Layout below the root:

    current -> snapshots/000007                 the newest state; replaced by renaming a symlink
    snapshots/000007/<table> -> data/…          one link per table; commit.json beside them
    data/<table>/<version>/…                    immutable files, Hive-style partition directories inside, and
                                                `_files.json`, which names every one of them (`contents.py`)
    .published                                  the newest snapshot's name, for whoever loses `current`
    staging/<transaction>/<table>/…             not visible to anyone until its transaction commits

`current/<table>/` is an ordinary Hive-style Parquet directory to every engine. Files that a commit leaves
alone are hard links to the same files, so a commit costs what it changes, and a version may be removed
without harm to the later ones that share files with it.

What was committed and is not there, or is not as it was, is an error that names it: never an empty table, never a
first run. `commit.json` holds its own digest and those of all lists of files. Tables committed by releases that kept
no such lists are taken as they are found, once, by the next commit.

Everything is guarded by kernel locks (flock), which end with the process that holds them: a reader's shared
lock on its snapshot keeps it from being removed; a writer's lock on its staging directory tells a running
transaction from the leftovers of a killed one, which the next commit removes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from purchasepath.errors import ConflictError, DamagedWarehouseError
from purchasepath.storage.contents import Contents, describe, faults_in, read_contents, write_contents
from purchasepath.storage.files import make_private, sha256_json, write_text

_COMMIT_FILE = "commit.json"
_MARK = ".published"
_NUMBER = re.compile(r"\d{6,}")


class Snapshots:
    """All snapshots below one root. Cheap to make; touches the disk only when used."""

    def __init__(self, root: Path, *, keep: int, private: Collection[str] = ()) -> None:
        self.root = root.absolute()
        self.keep = keep
        self.private = private  # tables whose files their owner alone may read

    def pin(self) -> Snapshot | None:
        """The newest snapshot, protected from removal until it is released; None before the first commit.

        Raises DamagedWarehouseError where there was a commit and what it wrote of itself is gone or changed.
        """
        seen = None
        while (directory := self._newest()) is not None:
            try:
                lock = (directory / _COMMIT_FILE).open("rb")
            except OSError as failure:
                if directory == seen:
                    raise DamagedWarehouseError([f"{directory / _COMMIT_FILE}: cannot be read ({failure.strerror})"
                                                 f"{self._others()}"]) from None
                seen = directory  # removed since we looked, and a newer one is current now; or it is really gone
                continue
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

        `base` is the snapshot the writer had read. Raises ConflictError when somebody else has replaced one of
        the same partitions since, or has changed a table that we add rows to: theirs stands, ours is not applied.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        written = {table: self._describe_staged(table, change, base) for table, change in staged.items()}
        with (self.root / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            newest = self.pin()
            try:
                directory = self._commit(staged, written, facts, base=base, newest=newest)
            finally:
                if newest:
                    newest.release()
            self._collect_garbage(int(directory.name))
        return directory

    def _commit(self, staged: Mapping[str, StagedTable], written: Mapping[str, Contents], facts: Mapping[str, Any], *,
                base: Snapshot | None, newest: Snapshot | None) -> Path:
        for table, change in staged.items():
            self._refuse_conflict(table, change, base, newest)
        number = int(newest.name) + 1 if newest else 1
        directory = self.root / "snapshots" / f"{number:06d}"
        shutil.rmtree(directory, ignore_errors=True)  # of a writer that was killed before its switch
        directory.mkdir(parents=True)
        lists: dict[str, str] = {}
        for table in newest.tables() if newest else ():
            if table not in staged and newest and (version := newest.table(table)):
                (directory / table).symlink_to(os.path.relpath(version, directory))
                lists[table] = newest.lists.get(table) or write_contents(version, describe(version))  # adopted
        for table, change in staged.items():
            version, contents = self._move_in(table, change, written[table], newest, number)
            (directory / table).symlink_to(os.path.relpath(version, directory))
            lists[table] = write_contents(version, contents)
        commit = {"snapshot": number, "at": datetime.now(UTC).isoformat(), "tables": sorted(staged),
                  **json.loads(json.dumps(facts, default=str)), "files": lists}
        text = json.dumps({**commit, "digest": sha256_json(commit)}, indent=1)
        (directory / _COMMIT_FILE).write_text(text + "\n", encoding="utf-8")
        self._hide_private()
        self._switch(directory)
        return directory

    def _newest(self) -> Path | None:
        """Where `current` leads, be it there or not; None before the first commit."""
        current = self.root / "current"
        if current.is_symlink():
            directory = Path(os.path.normpath(self.root / os.readlink(current)))
            if directory.parent.resolve() == (self.root / "snapshots").resolve() and _NUMBER.fullmatch(directory.name):
                return directory
            raise DamagedWarehouseError([f"{current}: leads to {directory}, which is no snapshot of this warehouse"])
        if current.exists():
            raise DamagedWarehouseError([f"{current}: is no link to a snapshot (was the warehouse copied without its "
                                         "links? `cp -a` keeps them)"])
        if lost := self._published():
            raise DamagedWarehouseError([f"{current}: the link to the newest snapshot, {lost}, is gone; "
                                         f"put it back: ln -s snapshots/{lost} '{current}'"])
        return None

    def _published(self) -> str | None:
        """Name of the newest snapshot that there was, whether or not `current` leads to it; None before the first.

        A first commit that was killed before its switch left a snapshot 1 that never was current: it has no mark, and
        holds a digest; what releases without marks have left holds none.
        """
        with suppress(OSError, UnicodeDecodeError):
            return (self.root / _MARK).read_text(encoding="utf-8").strip()
        left = self._numbered()
        if left and (left[-1].name != f"{1:06d}" or "digest" not in _read_commit(left[-1] / _COMMIT_FILE)):
            return left[-1].name
        return None

    def _numbered(self) -> list[Path]:
        """Snapshots with a commit file, oldest first."""
        return sorted(file.parent for file in (self.root / "snapshots").glob(f"*/{_COMMIT_FILE}")
                      if _NUMBER.fullmatch(file.parent.name))

    def _others(self) -> str:
        names = [directory.name for directory in self._numbered()]
        return f"; there are {', '.join(names)}" if names else ""

    def _describe_staged(self, table: str, change: StagedTable, base: Snapshot | None) -> Contents:
        """What was written. Files that were linked from the table as it was are as they were then."""
        old = base.table(table) if base else None
        return describe(change.directory, base.contents(table) if base else None, old)

    def _refuse_conflict(self, table: str, change: StagedTable, base: Snapshot | None, newest: Snapshot | None) -> None:
        before = base.table(table) if base else None
        now = newest.table(table) if newest else None
        depends_on = {""} if change.replaced is None or change.appends else change.replaced
        if before != now and any(_files_of(before, p) != _files_of(now, p) for p in depends_on):
            raise ConflictError(
                f"table {table}: another job has published the same partitions while this one was running "
                f"({', '.join(sorted(depends_on)) or 'the whole table'}); theirs stands. "
                "Run this job again to build on it"
            )

    def _move_in(self, table: str, change: StagedTable, written: Contents, newest: Snapshot | None,
                 number: int) -> tuple[Path, Contents]:
        """The version's directory and what is in it. Raises DamagedWarehouseError where old files to stay are not as
        they were committed."""
        old = newest.table(table) if newest and change.replaced is not None else None
        if newest and old:
            newest.verify(table, whole=False)
        version = self.root / "data" / table / f"{number:06d}"
        shutil.rmtree(version, ignore_errors=True)
        version.parent.mkdir(parents=True, exist_ok=True)
        os.rename(change.directory, version)
        if not newest or not old or change.replaced is None:
            return version, written
        stay = {name: facts for name, facts in (newest.contents(table) or describe(old)).items()
                if str(Path(name).parent) not in change.replaced}
        for name in stay:
            (version / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(old / name, version / name)
        return version, {**stay, **written}

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
        write_text(self.root / _MARK, directory.name + "\n")

    def _collect_garbage(self, newest: int) -> None:
        """Remove snapshots nobody reads but the newest and those right before it, `keep` in all, then data and staging
        nobody refers to."""
        there = [p for p in (self.root / "snapshots").iterdir() if p.is_dir() and _NUMBER.fullmatch(p.name)]
        for snapshot in there:
            if not newest - self.keep < int(snapshot.name) <= newest:
                _remove_unless_locked(snapshot)
        used = {link.resolve() for link in (self.root / "snapshots").glob("*/*") if link.is_symlink()}
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
        self._contents: dict[str, Contents] = {}
        commit = _read_commit(directory / _COMMIT_FILE)
        self.lists: Mapping[str, str] = commit.get("files", {})
        """Table → digest of its list of files; {} of a release that kept none."""
        digest = commit.pop("digest", None)
        if (digest or "files" in commit) and digest != sha256_json(commit):
            lock.close()
            raise DamagedWarehouseError([f"{directory / _COMMIT_FILE}: is not what was committed (its digest differs)"])

    @property
    def name(self) -> str:
        return self.directory.name

    def table(self, name: str) -> Path | None:
        """Directory of the table's files, or None when it was never written.

        Raises DamagedWarehouseError where it was written and is gone.
        """
        link = self.directory / name
        if link.is_symlink() and link.is_dir():
            return link.resolve()
        if link.is_symlink():
            raise DamagedWarehouseError([f"{link}: leads to {os.readlink(link)}, which is not there"])
        if name in self.lists or link.exists():
            raise DamagedWarehouseError([f"{link}: the link to the table's files is gone"])
        return None

    def tables(self) -> list[str]:
        """Names of all tables."""
        links = {link.name for link in self.directory.iterdir() if link.is_symlink()}
        return sorted(links | self.lists.keys())

    def contents(self, name: str) -> Contents | None:
        """The table's files as they were committed; None where that is not known."""
        if name not in self.lists:
            return None
        if name not in self._contents:
            self._contents[name] = read_contents(self.table(name) or self.directory / name, self.lists[name])
        return self._contents[name]

    def verify(self, name: str, *, whole: bool | None = None) -> None:
        """Raises DamagedWarehouseError, naming every file, unless the table's files are those that were committed.

        `whole`: read all of them; by default where that is little (`contents.py`).
        """
        contents, directory = self.contents(name), self.table(name)
        if contents is not None and directory and (faults := faults_in(directory, contents, whole=whole)):
            raise DamagedWarehouseError(faults)

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


def _read_commit(file: Path) -> dict[str, Any]:
    try:
        commit = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as failure:
        raise DamagedWarehouseError([f"{file}: cannot be read ({failure})"]) from None
    if not isinstance(commit, dict):
        raise DamagedWarehouseError([f"{file}: is not what was committed"])
    return commit


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
