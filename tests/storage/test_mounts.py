"""What a stage needs of executors, and by what a task tells that a path is not the driver's."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from purchasepath.config import load_config
from purchasepath.errors import UserError
from purchasepath.stages import PIPELINE
from purchasepath.storage import mounts
from purchasepath.storage.mounts import Need, UnreachablePathError, needs_of, require_reach


@pytest.fixture
def on_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks look for what the driver looks for, in this process."""
    monkeypatch.setattr(mounts, "on_one_machine", lambda _: False)
    monkeypatch.setattr(mounts, "ask_executors", lambda _, look: list(look(())))


def test_on_one_machine_nobody_is_asked(spark: SparkSession, tmp_path: Path) -> None:
    require_reach(spark, [Need("paths.dataset", str(tmp_path / "new"), writes=True)])
    assert not (tmp_path / "new").exists()


def test_a_directory_that_all_reach_is_left_as_it_was(
    spark: SparkSession, tmp_path: Path, on_a_cluster: None
) -> None:
    (tmp_path / "old").mkdir()
    require_reach(spark, [Need("paths.models", str(tmp_path / "old"), writes=True),
                          Need("paths.dataset", str(tmp_path / "deep" / "new"), writes=True),
                          Need("paths.raw", f"file:{tmp_path}/o*"), Need("paths.raw", str(tmp_path / "missing"))])
    assert [file.name for file in tmp_path.rglob("*")] == ["old"]


def test_another_directory_of_the_same_name_is_not_taken_for_it(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_a_cluster: None
) -> None:
    place = tmp_path / "dataset"
    place.mkdir()
    (place / "manifest.json").touch()

    def look_elsewhere(_: object, look: mounts._Look) -> list[str]:
        place.rename(tmp_path / "aside")
        place.mkdir()
        try:
            return list(look(()))
        finally:
            place.rmdir()
            (tmp_path / "aside").rename(place)

    monkeypatch.setattr(mounts, "ask_executors", look_elsewhere)
    for writes, told in ((True, "just written there is not there"), (False, "manifest.json is not there")):
        with pytest.raises(UnreachablePathError, match=rf"paths\.dataset \({place}\) on .*{told}"):
            require_reach(spark, [Need("paths.dataset", str(place), writes=writes, plain=True)])
    assert [file.name for file in place.iterdir()] == ["manifest.json"]


def test_what_the_driver_itself_cannot_write_is_told(
    spark: SparkSession, tmp_path: Path, on_a_cluster: None
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--set paths\.models=<directory>"):
        require_reach(spark, [Need("paths.models", str(tmp_path / "file" / "below"), writes=True, plain=True)])


def test_other_file_systems_are_reached_by_their_names(spark: SparkSession, on_a_cluster: None) -> None:
    require_reach(spark, [Need("paths.raw", "unknown://host/x")])


@pytest.mark.parametrize(("stage", "knobs"), [
    ("simulate", {"paths.raw"}), ("ingest", {"paths.raw", "paths.warehouse"}), ("sessionize", {"paths.warehouse"}),
    ("dataset", {"paths.warehouse", "paths.dataset"}), ("evaluate", {"paths.warehouse", "paths.dataset"}),
    ("train", {"paths.warehouse", "paths.dataset", "paths.models"}), ("score", {"paths.warehouse"}),
])
def test_a_stage_needs_what_its_tasks_open(stage: str, knobs: set[str]) -> None:
    assert {need.knob for need in needs_of(stage, load_config())} == knobs


def test_one_rank_trains_in_the_driver_and_needs_no_mount_for_it() -> None:
    assert {n.knob for n in needs_of("train", load_config([], ["training.ranks=1"]))} == {"paths.warehouse"}


def test_only_stages_that_show_what_is_there_leave_the_warehouse_unwritten() -> None:
    readers = [stage for stage in (*PIPELINE, "stitch", "sql")
               if not any(need.writes for need in needs_of(stage, load_config()))]
    assert readers == ["report", "sql"]
