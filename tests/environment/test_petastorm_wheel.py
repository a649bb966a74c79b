"""The Petastorm wheel: edited where it says, the same bytes each time, with a RECORD that holds."""

from __future__ import annotations

import base64
import csv
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.environment.scripts import load

petastorm_wheel = load("petastorm_wheel")

INFORMATION = f"petastorm-{petastorm_wheel.VERSION}.dist-info"
UNTOUCHED = b"def stop():\n    return 'as it was'\n"


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A wheel named like the release, whose files hold little but what the edits look for."""
    texts: dict[str, str] = {}
    for edit in petastorm_wheel.EDITS:
        texts[edit.file] = texts.get(edit.file, "") + edit.old
    texts[petastorm_wheel.METADATA] = "Metadata-Version: 2.1\nName: petastorm" + texts[petastorm_wheel.METADATA]
    wheel = tmp_path / "petastorm-0.12.1-py2.py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(name, text)
        archive.writestr("petastorm/workers_pool/thread_pool.py", UNTOUCHED)
        archive.writestr("petastorm-0.12.1.dist-info/WHEEL",
                         "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py2-none-any\nTag: py3-none-any\n")
        archive.writestr("petastorm-0.12.1.dist-info/RECORD", "petastorm/gone.py,,\n")
    return wheel


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_every_edit_is_made_and_all_else_stays(released: Path, tmp_path: Path) -> None:
    wheel = petastorm_wheel.edit_wheel(released, tmp_path / "edited")
    assert wheel.name == f"petastorm-{petastorm_wheel.VERSION}-py2.py3-none-any.whl"
    found = contents(wheel)
    for edit in petastorm_wheel.EDITS:
        text = found[edit.file.replace("petastorm-0.12.1.dist-info", INFORMATION)].decode()
        assert edit.old not in text
        assert edit.new in text
    assert found["petastorm/workers_pool/thread_pool.py"] == UNTOUCHED
    module = petastorm_wheel.ADDITIONS / "legacy_parquet.py"
    assert found["petastorm/legacy_parquet.py"] == module.read_bytes()


@pytest.mark.parametrize("edit", petastorm_wheel.EDITS, ids=lambda edit: f"{edit.file} {edit.old.strip()[:30]}")
def test_an_edit_that_finds_nothing_says_which(edit: Any, released: Path, tmp_path: Path) -> None:
    found = contents(released)
    with zipfile.ZipFile(released, "w") as archive:
        for name, content in found.items():
            archive.writestr(name, content.replace(edit.old.encode(), b"") if name == edit.file else content)
    with pytest.raises(RuntimeError, match="does not contain") as failure:
        petastorm_wheel.edit_wheel(released, tmp_path / "edited")
    assert edit.file in str(failure.value)


def test_the_same_release_gives_the_same_bytes(released: Path, tmp_path: Path) -> None:
    once = petastorm_wheel.edit_wheel(released, tmp_path / "once")
    with zipfile.ZipFile(released) as archive:
        assert archive.infolist()[0].date_time != petastorm_wheel.PACKED_AT  # so the time of a run would show
    assert once.read_bytes() == petastorm_wheel.edit_wheel(released, tmp_path / "again").read_bytes()
    with zipfile.ZipFile(once) as archive:
        assert {(entry.date_time, entry.compress_type) for entry in archive.infolist()} == {
            (petastorm_wheel.PACKED_AT, zipfile.ZIP_STORED)}


def test_record_has_path_sum_and_size_of_every_entry(released: Path, tmp_path: Path) -> None:
    found = contents(petastorm_wheel.edit_wheel(released, tmp_path / "edited"))
    lines = list(csv.reader(found[f"{INFORMATION}/RECORD"].decode().splitlines()))
    assert [name for name, _, _ in lines] == list(found)
    for name, digest, size in lines[:-1]:
        kind, encoded = digest.split("=", 1)
        assert kind == "sha256"
        assert base64.urlsafe_b64decode(encoded + "=") == hashlib.sha256(found[name]).digest()
        assert int(size) == len(found[name])
    assert lines[-1] == [f"{INFORMATION}/RECORD", "", ""]


def test_pip_installs_it_under_the_version_that_says_it_is_edited(released: Path, tmp_path: Path) -> None:
    wheel = petastorm_wheel.edit_wheel(released, tmp_path / "edited")
    pip, site = [sys.executable, "-m", "pip", "--disable-pip-version-check"], tmp_path / "site"
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel], check=True)
    listed = subprocess.run([*pip, "list", "--path", site, "--format", "freeze"], capture_output=True, text=True,
                            check=True).stdout
    assert listed.split() == [f"petastorm=={petastorm_wheel.VERSION}"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "purchasepath" / "wheels" / "petastorm-0.12.1"


def test_the_release_is_downloaded_edited_and_kept(
    released: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(command: list[Any]) -> int:
        (Path(command[command.index("--dest") + 1]) / released.name).write_bytes(released.read_bytes())
        return 0

    monkeypatch.setattr(petastorm_wheel, "RELEASED_SHA256", hashlib.sha256(released.read_bytes()).hexdigest())
    assert petastorm_wheel.find_petastorm("petastorm==0.12.1") is None
    wheel = petastorm_wheel.build_petastorm(Path("python"), "petastorm==0.12.1", download)
    assert wheel.is_relative_to(cache)
    assert petastorm_wheel.find_petastorm("petastorm==0.12.1") == wheel
    wheel.write_bytes(b"another wheel")
    assert petastorm_wheel.find_petastorm("petastorm==0.12.1") is None
    monkeypatch.setattr(petastorm_wheel, "RELEASED_SHA256", "0" * 64)
    with pytest.raises(RuntimeError, match="SHA-256"):
        petastorm_wheel.build_petastorm(Path("python"), "petastorm==0.12.1", download)


def test_another_edit_or_another_module_is_another_wheel(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [petastorm_wheel.wheel_directory("petastorm==0.12.1")] * 2
    monkeypatch.setattr(petastorm_wheel, "EDITS", petastorm_wheel.EDITS[:-1])
    places.append(petastorm_wheel.wheel_directory("petastorm==0.12.1"))
    monkeypatch.setattr(petastorm_wheel, "ADDITIONS", tmp_path)
    places.append(petastorm_wheel.wheel_directory("petastorm==0.12.1"))
    assert len(set(places)) == 3
