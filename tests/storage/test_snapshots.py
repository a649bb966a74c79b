"""Snapshots: atomic switch, hard-linked partitions, protected readers, cleaned-up leftovers."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from purchasepath.errors import PublishError
from purchasepath.storage.snapshots import Snapshot, Snapshots, StagedTable


def commit(snapshots: Snapshots, table: str, files: dict[str, str], *, replaced: frozenset[str] | None = None,
           appends: bool = False, base: Snapshot | None = None, name: str = "t") -> None:
    """Commit text files as if they were Parquet; `base` is what the writer had read (the newest, if not given)."""
    base = base or snapshots.pin()
    with snapshots.staging(name) as directory:
        for path, text in files.items():
            file = directory / table / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        (directory / table).mkdir(exist_ok=True)
        change = StagedTable(directory / table, frozenset() if appends else replaced, appends=appends)
        snapshots.commit({table: change}, {}, base=base)
    if base:
        base.release()


def content(snapshots: Snapshots, table: str) -> dict[str, str]:
    pinned = snapshots.pin()
    assert pinned is not None
    directory = pinned.table(table)
    assert directory is not None
    found = {str(f.relative_to(directory)): f.read_text() for f in directory.rglob("*.parquet")}
    pinned.release()
    return found


def test_nothing_to_pin_before_the_first_commit(tmp_path: Path) -> None:
    assert Snapshots(tmp_path, keep=1).pin() is None


def test_replacing_one_partition_keeps_the_others_as_the_same_files(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, keep=1)
    commit(snapshots, "scores", {"d=1/a.parquet": "old 1", "d=2/a.parquet": "old 2"})
    before = (tmp_path / "current/scores/d=1/a.parquet").stat().st_ino
    commit(snapshots, "scores", {"d=2/b.parquet": "new 2"}, replaced=frozenset({"d=2"}))
    assert content(snapshots, "scores") == {"d=1/a.parquet": "old 1", "d=2/b.parquet": "new 2"}
    assert (tmp_path / "current/scores/d=1/a.parquet").stat().st_ino == before


def test_an_explicitly_replaced_partition_without_rows_disappears(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, keep=1)
    commit(snapshots, "scores", {"d=1/a.parquet": "1", "d=2/a.parquet": "2"})
    commit(snapshots, "scores", {}, replaced=frozenset({"d=2"}))
    assert content(snapshots, "scores") == {"d=1/a.parquet": "1"}


def test_tables_of_other_commits_stay(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, keep=1)
    commit(snapshots, "events", {"a.parquet": "e"})
    commit(snapshots, "sessions", {"a.parquet": "s"})
    assert content(snapshots, "events") == {"a.parquet": "e"}


def test_a_pinned_reader_keeps_its_files_while_others_commit(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, keep=1)
    commit(snapshots, "events", {"a.parquet": "1"})
    reader = Snapshots(tmp_path, keep=1).pin()
    assert reader is not None
    for i in range(2, 5):
        commit(snapshots, "events", {"a.parquet": str(i)})
    directory = reader.table("events")
    assert directory is not None
    assert (directory / "a.parquet").read_text() == "1"
    reader.release()
    commit(snapshots, "events", {"a.parquet": "5"})
    assert not directory.exists()
    assert content(snapshots, "events") == {"a.parquet": "5"}


def test_a_failed_transaction_leaves_nothing_and_changes_nothing(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, keep=1)
    commit(snapshots, "events", {"a.parquet": "1"})
    with pytest.raises(RuntimeError, match="boom"), snapshots.staging("broken") as directory:
        (directory / "half").write_text("x")
        raise RuntimeError("boom")
    assert content(snapshots, "events") == {"a.parquet": "1"}
    assert list((tmp_path / "staging").iterdir()) == []


def test_leftovers_of_a_killed_writer_are_removed_by_the_next_commit(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, keep=1)
    killed = tmp_path / "staging" / "killed"
    killed.mkdir(parents=True)
    (killed / "owner").write_text("")
    (tmp_path / "snapshots" / "000001").mkdir(parents=True)
    commit(snapshots, "events", {"a.parquet": "1"})
    assert not killed.exists()
    assert content(snapshots, "events") == {"a.parquet": "1"}


def test_the_second_of_two_writers_of_one_partition_is_told_and_the_first_stands(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, keep=3)
    commit(snapshots, "scores", {"d=1/a.parquet": "0", "d=2/a.parquet": "0"})
    base = snapshots.pin()
    commit(snapshots, "scores", {"d=1/b.parquet": "first"}, replaced=frozenset({"d=1"}), base=base)
    commit(snapshots, "scores", {"d=2/b.parquet": "other partition"}, replaced=frozenset({"d=2"}), base=base)
    with pytest.raises(PublishError, match="same partitions"):
        commit(snapshots, "scores", {"d=1/c.parquet": "second"}, replaced=frozenset({"d=1"}), base=base)
    assert content(snapshots, "scores") == {"d=1/b.parquet": "first", "d=2/b.parquet": "other partition"}


def test_added_files_stand_beside_the_old_ones_which_stay_the_same_files(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, keep=1)
    commit(snapshots, "events", {"d=1/a.parquet": "1", "d=2/a.parquet": "2"})
    before = (tmp_path / "current/events/d=1/a.parquet").stat().st_ino
    commit(snapshots, "events", {"d=1/b.parquet": "late", "d=3/b.parquet": "3"}, appends=True)
    assert content(snapshots, "events") == {
        "d=1/a.parquet": "1", "d=1/b.parquet": "late", "d=2/a.parquet": "2", "d=3/b.parquet": "3"}
    assert (tmp_path / "current/events/d=1/a.parquet").stat().st_ino == before


def test_collected_versions_do_not_take_shared_files_with_them(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, keep=1)
    for i in range(4):
        commit(snapshots, "events", {f"{i}.parquet": str(i)}, appends=True)
    versions = sorted(v.name for v in (tmp_path / "data/events").iterdir())
    assert versions == ["000003", "000004"]  # the last writer still read the third when it committed
    assert content(snapshots, "events") == {f"{i}.parquet": str(i) for i in range(4)}
    assert (tmp_path / "current/events/0.parquet").stat().st_nlink == 2


def test_an_addition_to_a_table_that_changed_meanwhile_is_refused(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, keep=3)
    commit(snapshots, "events", {"d=1/a.parquet": "1"})
    base = snapshots.pin()
    commit(snapshots, "sessions", {"a.parquet": "another table"}, base=base)
    commit(snapshots, "events", {"d=2/a.parquet": "first"}, appends=True, base=base)
    with pytest.raises(PublishError, match=r"table events: another job .*the whole table"):
        commit(snapshots, "events", {"d=3/a.parquet": "second"}, appends=True, base=base)
    assert content(snapshots, "events") == {"d=1/a.parquet": "1", "d=2/a.parquet": "first"}


def test_fingerprints_change_with_the_files_of_their_partition_only(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, keep=1)

    def fingerprints() -> dict[str, str]:
        pinned = snapshots.pin()
        assert pinned is not None
        found = pinned.fingerprints("events")
        pinned.release()
        return found

    commit(snapshots, "events", {"d=1/a.parquet": "1", "d=2/a.parquet": "2"})
    first = fingerprints()
    assert set(first) == {"d=1", "d=2"}
    commit(snapshots, "sessions", {"a.parquet": "s"})
    assert fingerprints() == first
    commit(snapshots, "events", {"d=2/b.parquet": "late", "d=3/b.parquet": "3"}, appends=True)
    second = fingerprints()
    assert (second["d=1"], set(second)) == (first["d=1"], {"d=1", "d=2", "d=3"})
    assert second["d=2"] != first["d=2"]
    commit(snapshots, "events", {}, replaced=frozenset({"d=2"}))
    assert fingerprints() == {partition: second[partition] for partition in ("d=1", "d=3")}


def modes(directory: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in [directory, *directory.rglob("*")]}


def test_private_tables_and_staging_are_their_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        commit(Snapshots(tmp_path, keep=2), "keys", {"a.parquet": "of an earlier release"})
        assert 0o666 in modes(tmp_path / "data/keys")
        snapshots = Snapshots(tmp_path, keep=2, private=["keys"])
        with snapshots.staging("t2") as directory:
            assert stat.S_IMODE(directory.parent.stat().st_mode) == 0o700
        commit(snapshots, "scores", {"a.parquet": "1"})
        assert modes(tmp_path / "data/keys") == {0o700, 0o600}
        commit(snapshots, "keys", {"d=1/b.parquet": "new"}, appends=True)
    finally:
        os.umask(before)
    assert modes(tmp_path / "data/keys") == {0o700, 0o600}
    assert content(snapshots, "keys") == {"a.parquet": "of an earlier release", "d=1/b.parquet": "new"}
    assert stat.S_IMODE((tmp_path / "data/scores").stat().st_mode) & 0o077
