"""A writer killed before any of the file operations of a commit leaves the old tables or the new ones, never a mix.

The child process counts its file operations through Python's audit events and ends itself, like kill -9, right
before the chosen one. What it leaves is then read, and repaired by the next commit.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from purchasepath.storage.snapshots import Snapshots, StagedTable
from tests.storage.test_snapshots import commit, content

CHANGES_FILES = {"os.rename", "os.symlink", "os.link", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"}
KILLED = 9
OLD = {"scores": {"d=1/a.parquet": "old 1", "d=2/a.parquet": "old 2"}, "items": {"a.parquet": "old"}}
NEW = {"scores": {"d=1/a.parquet": "old 1", "d=2/b.parquet": "new 2"}, "items": {"b.parquet": "new"}}


def commit_both(root: Path) -> None:
    """Replaces one partition of scores and all of items, in one commit."""
    snapshots = Snapshots(root, keep=1)
    base = snapshots.pin()
    assert base is not None
    with snapshots.staging("writer") as directory:
        staged = {
            "scores": _stage(directory / "scores", {"d=2/b.parquet": "new 2"}, frozenset({"d=2"})),
            "items": _stage(directory / "items", {"b.parquet": "new"}, None),
        }
        snapshots.commit(staged, {}, base=base)


def _stage(directory: Path, files: dict[str, str], replaced: frozenset[str] | None) -> StagedTable:
    for path, text in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text)
    return StagedTable(directory, replaced)


def killed_before(step: int, root: Path) -> bool:
    """Whether a child that commits was killed before its file operation number `step`; it may have fewer."""
    child = os.fork()
    if child == 0:
        done = 0

        def count(event: str, args: tuple[Any, ...]) -> None:
            nonlocal done
            opened_to_write = event == "open" and isinstance(args[1], str) and "w" in args[1]
            if event in CHANGES_FILES or opened_to_write:
                if done == step:
                    os._exit(KILLED)
                done += 1

        try:
            sys.addaudithook(count)
            commit_both(root)
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, KILLED)
    return code == KILLED


def test_a_commit_killed_before_any_of_its_file_operations_is_whole_or_absent(tmp_path: Path) -> None:
    seen: list[str] = []
    for step in range(200):
        root = tmp_path / str(step)
        snapshots = Snapshots(root, keep=1)
        for table, files in OLD.items():
            commit(snapshots, table, files)
        killed = killed_before(step, root)
        found = {table: content(snapshots, table) for table in OLD}
        assert found in (OLD, NEW), f"a mix after a kill before operation {step}"
        seen.append("old" if found == OLD else "new")
        commit(snapshots, "others", {"a.parquet": "x"})
        assert {table: content(snapshots, table) for table in OLD} == found
        assert no_leftovers(root)
        if not killed:
            break
    assert seen[-1] == "new", "the last child was not killed"
    assert len(seen) > 20
    assert seen == sorted(seen, reverse=True), "one switch from old to new"


def no_leftovers(root: Path) -> bool:
    """Only what the current snapshot, and the one that the last commit was based on, refer to is left."""
    snapshots = list((root / "snapshots").iterdir())
    used = {link.resolve() for snapshot in snapshots for link in snapshot.iterdir() if link.is_symlink()}
    versions = set((root / "data").glob("*/*"))
    return versions == used and len(snapshots) == 2 and not list((root / "staging").iterdir())
