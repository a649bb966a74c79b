"""A path of the configuration is the same file wherever it is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from purchasepath.config import Config, load_config
from purchasepath.errors import ConfigError
from purchasepath.places import absolute, absolute_each, glob_root, split_paths


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: `a, [x]`."""
    here = tmp_path / "a, [x]"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


@pytest.mark.parametrize("path", ["/data/a b", "s3a://bucket/x", "hdfs://nn:8020/x", "file:/x", "dbfs:/x", ""])
def test_what_is_absolute_or_an_address_stays_as_it_is(here: Path, path: str) -> None:
    assert absolute(path) == absolute_each(path) == path


@pytest.mark.parametrize("path", ["var/raw", "./var/raw/", "12:30.csv", "c:d/e.csv"])
def test_a_relative_path_is_seen_from_the_working_directory(here: Path, path: str) -> None:
    assert absolute(path) == str(here / path)


def test_each_of_several_paths_becomes_absolute_and_they_stay_told_apart(here: Path) -> None:
    found = split_paths(absolute_each("raw, /b/{x,y}.gz,s3a://c/*"))
    assert found == [str(here / "raw"), "/b/{x,y}.gz", "s3a://c/*"]
    assert split_paths(absolute_each(absolute_each("raw"))) == [str(here / "raw")]
    assert split_paths(absolute_each("x\\,y.csv")) == [str(here / "x,y.csv")]


def test_a_glob_is_one_below_the_working_directory_only(here: Path) -> None:
    escaped = str(here).replace("[", "\\[").replace("]", "\\]")
    assert split_paths(absolute_each("raw/*.csv")) == [f"{escaped}/raw/*.csv"]
    (here / "b[1].csv").touch()
    assert split_paths(absolute_each("b[1].csv")) == [str(here / "b[1].csv")]  # it is there, so it is no glob


@pytest.mark.parametrize(("path", "root"), [
    ("/a/b", "/a/b"), ("/a/*/c", "/a"), ("/a/b{c,d}", "/a"), ("/*", "/"), ("/a\\[x\\]/b?", "/a[x]")])
def test_a_glob_begins_in_the_directory_before_its_first_special_letter(path: str, root: str) -> None:
    assert glob_root(path) == root


def test_every_knob_that_is_a_path_is_absolute(here: Path) -> None:
    overrides = ["score.bundle=b", "training.start_from=b", "paths.items=i"]
    loaded = load_config([], overrides).model_dump()
    told = {f"{section}.{name}": value for section, knobs in loaded.items() for name, value in knobs.items()
            if isinstance(value, str)}
    paths = {name for name, value in told.items() if value.startswith("/")}
    by_default = {f"{section}.{name}" for section, field in Config.model_fields.items()
                  for name, knob in field.annotation.model_fields.items()  # type: ignore[union-attr]
                  if str(knob.default).startswith("var/")}
    assert by_default | {"score.bundle", "training.start_from", "paths.items"} == paths


def test_a_tilde_is_the_users_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    paths = load_config([], ["paths.warehouse=~/w", "paths.raw=~/a,~/b"]).paths
    assert (paths.warehouse, paths.raw) == ("/home/anna/w", "/home/anna/a,/home/anna/b")
    assert load_config([], ["paths.warehouse=./~/w"]).paths.warehouse.endswith("/~/w")


def test_references_to_bundles_that_are_no_paths_stay(here: Path) -> None:
    for reference in ("latest", "models:/m/3", "models:/m@best"):
        assert load_config([], [f"score.bundle={reference}"]).score.bundle == reference
    assert load_config().training.start_from == ""


@pytest.mark.parametrize("knob", ["dataset", "models", "runs", "report", "warehouse"])
def test_an_address_where_plain_files_are_written_is_refused(knob: str) -> None:
    with pytest.raises(ConfigError, match=rf"paths\.{knob}: .*every node mounts"):
        load_config([], [f"paths.{knob}=hdfs://nn/x"])
    assert load_config([], ["warehouse.catalog=hive", "paths.warehouse=hdfs://nn/x"]).paths.warehouse == "hdfs://nn/x"
