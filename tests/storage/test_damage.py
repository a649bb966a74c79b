"""What was committed and is gone, foreign or damaged is an error that names it: never empty, never a first run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs import doctor
from purchasepath.errors import DamagedWarehouseError
from purchasepath.storage.contents import facts_of, faults_in
from purchasepath.storage.snapshots import Snapshot, Snapshots
from tests.damage import flip_bit
from tests.storage.test_snapshots import commit, content


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A warehouse of three commits: scores (two partitions, one of them added later) and items."""
    root = tmp_path / "a warehouse"
    snapshots = Snapshots(root, keep=1)
    commit(snapshots, "scores", {"d=1/a.parquet": "one"})
    commit(snapshots, "items", {"a.parquet": "items"})
    commit(snapshots, "scores", {"d=2/b.parquet": "two"}, appends=True)
    return root


def pinned(root: Path) -> Snapshot:
    found = Snapshots(root, keep=1).pin()
    assert found is not None
    return found


def open_scores(root: Path) -> None:
    snapshot = pinned(root)
    try:
        snapshot.verify("scores")
    finally:
        snapshot.release()


def remove_list(root: Path) -> None:
    (root / "current/scores/_files.json").unlink()


def forget_a_file(root: Path) -> None:
    file = root / "current/scores/_files.json"
    listed = json.loads(file.read_text())
    del listed["d=2/b.parquet"]
    file.write_text(json.dumps(listed))
    (root / "current/scores/d=2/b.parquet").unlink()


def swap_files(root: Path) -> None:
    one, two = (root / "current/scores" / name for name in ("d=1/a.parquet", "d=2/b.parquet"))
    one.rename(root / "aside")
    two.rename(one)
    (root / "aside").rename(two)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "file gone": (lambda r: (r / "current/scores/d=1/a.parquet").unlink(), r"d=1/a\.parquet: is missing"),
    "partition gone": (lambda r: shutil.rmtree(r / "current/scores/d=2"), r"d=2/b\.parquet: is missing"),
    "file cut off": (lambda r: (r / "current/scores/d=1/a.parquet").write_text("on"), r"has 2 bytes, 3 were written"),
    "bit flipped": (lambda r: flip_bit(r / "current/scores/d=1/a.parquet", 1), r"a\.parquet: its content is not"),
    "files swapped": (swap_files, r"d=1/a\.parquet: its content is not"),
    "stray file": (lambda r: (r / "current/scores/d=1/c.parquet").write_text("x"), r"c\.parquet: no commit wrote"),
    "stray text": (lambda r: (r / "current/scores/note.txt").write_text("x"), r"note\.txt: no commit wrote"),
    "all files gone": (lambda r: shutil.rmtree((r / "current/scores").resolve()), r"scores: leads to .* not there"),
    "all data gone": (lambda r: shutil.rmtree(r / "data"), r"scores: leads to .* not there"),
    "link gone": (lambda r: (r / "current/scores").unlink(), r"scores: the link to the table's files is gone"),
    "list gone": (remove_list, r"_files\.json: the list .* cannot be read"),
    "list changed": (forget_a_file, r"_files\.json: the list .* is not the one"),
    "current gone": (lambda r: (r / "current").unlink(), r"current: .*000003.*ln -s snapshots/000003"),
    "current leads nowhere": (lambda r: shutil.rmtree(r / "snapshots/000003"), r"000003/commit\.json: cannot be read"),
    "commit file gone": (lambda r: (r / "current/commit.json").unlink(), r"000003/commit\.json: cannot be read"),
    "commit file empty": (lambda r: (r / "current/commit.json").write_text(""), r"commit\.json: cannot be read"),
    "commit file changed": (lambda r: flip_bit(r / "current/commit.json", 20, 0), r"commit\.json: "),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_told_when_the_table_is_opened_and_nothing_is_published_on_it(root: Path, damage: str) -> None:
    do, told = DAMAGE[damage]
    do(root)
    before = sorted(str(path) for path in root.rglob("*"))
    with pytest.raises(DamagedWarehouseError, match=told):
        open_scores(root)
    with pytest.raises(DamagedWarehouseError, match=told):
        commit(Snapshots(root, keep=1), "scores", {"d=3/c.parquet": "three"}, appends=True)
    ours = ("/staging", "/lock", "/snapshots/000004")
    assert [path for path in before if not any(part in path for part in ours)] == \
        [path for path in sorted(str(path) for path in root.rglob("*")) if not any(part in path for part in ours)]


def test_a_warehouse_that_is_as_it_was_committed_passes(root: Path) -> None:
    open_scores(root)
    pinned(root).verify("items", whole=True)


def test_files_that_stay_keep_the_digest_they_were_committed_with(root: Path) -> None:
    commit(Snapshots(root, keep=1), "scores", {"d=1/a.parquet": "x" * 200_000})
    flip_bit(root / "current/scores/d=1/a.parquet", 1)
    commit(Snapshots(root, keep=1), "scores", {"d=3/c.parquet": "three"}, appends=True)
    with pytest.raises(DamagedWarehouseError, match=r"d=1/a\.parquet: its content is not"):
        open_scores(root)


def test_a_damaged_table_does_not_keep_others_from_being_read_and_written_anew(root: Path) -> None:
    (root / "current/scores/d=1/a.parquet").unlink()
    assert content(Snapshots(root, keep=1), "items") == {"a.parquet": "items"}
    commit(Snapshots(root, keep=1), "scores", {"d=1/c.parquet": "anew"})
    open_scores(root)


def test_a_lost_current_that_is_put_back_as_told_goes_on_where_it_was(root: Path) -> None:
    (root / "current").unlink()
    (root / "current").symlink_to("snapshots/000003")
    commit(Snapshots(root, keep=1), "items", {"b.parquet": "new"})
    assert content(Snapshots(root, keep=1), "items") == {"b.parquet": "new"}


def test_after_a_step_back_the_next_commit_stays(root: Path) -> None:
    (root / "snapshots/000009").mkdir()
    (root / "snapshots/a note").write_text("stray")
    commit(Snapshots(root, keep=1), "items", {"b.parquet": "new"})
    assert content(Snapshots(root, keep=1), "items") == {"b.parquet": "new"}
    assert (root / "current").resolve().name == "000004"


def test_a_first_commit_that_was_killed_before_its_switch_is_no_loss(root: Path) -> None:
    shutil.copytree(root / "snapshots/000003", root.parent / "other/snapshots/000001", symlinks=True)
    assert Snapshots(root.parent / "other", keep=1).pin() is None


def as_of_old(root: Path) -> None:
    """The warehouse as a release left it that kept no lists of files."""
    for file in root.rglob("_files.json"):
        file.unlink()
    (root / ".published").unlink()
    for file in root.glob("snapshots/*/commit.json"):
        plain = {k: v for k, v in json.loads(file.read_text()).items() if k not in ("files", "digest")}
        file.write_text(json.dumps(plain))


def test_an_old_warehouse_is_read_as_it_is_and_adopted_by_the_next_commit(root: Path) -> None:
    as_of_old(root)
    open_scores(root)
    commit(Snapshots(root, keep=1), "items", {"b.parquet": "new"})
    assert content(Snapshots(root, keep=1), "scores") == {"d=1/a.parquet": "one", "d=2/b.parquet": "two"}
    flip_bit(root / "current/scores/d=2/b.parquet", 0)
    with pytest.raises(DamagedWarehouseError, match=r"d=2/b\.parquet: its content is not"):
        open_scores(root)


@pytest.mark.parametrize("commits", [1, 3])
def test_an_old_warehouse_without_current_is_no_first_run(tmp_path: Path, commits: int) -> None:
    for number in range(commits):
        commit(Snapshots(tmp_path, keep=1), "items", {"a.parquet": str(number)})
    as_of_old(tmp_path)
    (tmp_path / "current").unlink()
    with pytest.raises(DamagedWarehouseError, match="put it back"):
        commit(Snapshots(tmp_path, keep=1), "items", {"a.parquet": "x"})


def test_large_files_are_known_by_their_ends_and_read_whole_on_demand(tmp_path: Path) -> None:
    (tmp_path / "part.parquet").write_bytes(bytes(200_000))
    contents = {"part.parquet": facts_of(tmp_path / "part.parquet")}
    flip_bit(tmp_path / "part.parquet", 100)
    assert faults_in(tmp_path, contents, whole=False) == []
    assert len(faults_in(tmp_path, contents, whole=True)) == 1
    flip_bit(tmp_path / "part.parquet", 199_000)
    assert len(faults_in(tmp_path, contents, whole=False)) == 1


def test_the_doctor_names_every_damaged_file_of_every_table(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.examine_warehouse([str(root)]) == 0
    assert "1 files" in capsys.readouterr().out
    (root / "current/items/a.parquet").unlink()
    flip_bit(root / "current/scores/d=1/a.parquet", 0)
    assert doctor.examine_warehouse([str(root)]) == 2
    told = capsys.readouterr().out
    assert "items/000002/a.parquet: is missing" in told
    assert "d=1/a.parquet: its content is not what was written" in told
    (root / "current").unlink()
    assert doctor.examine_warehouse([str(root)]) == 2
    assert "put it back: ln -s" in capsys.readouterr().err


def test_the_doctor_does_not_take_an_empty_directory_for_a_warehouse(tmp_path: Path) -> None:
    assert doctor.examine_warehouse([str(tmp_path / "nowhere")]) == 2
    assert not (tmp_path / "nowhere").exists()
