"""Set-up: interrupted, repaired, waited for; what it installs from the lock; the wheels that it builds and keeps."""

from __future__ import annotations

import re
import sys
import tarfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.environment.scripts import load

horovod_wheel, lock, set_up, wheels = map(load, ("horovod_wheel", "lock", "set_up", "wheels"))


@pytest.fixture
def venv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / ".venv"
    places = {"VENV": ".", "PYTHON": "bin/python", "LOG": "set-up.log", "WITHOUT_HOROVOD": "without-horovod"}
    for name, path in places.items():
        monkeypatch.setattr(set_up, name, directory / path)
    return directory


def test_a_complete_set_up_leaves_its_stamp(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_up, "set_up", lambda profile: None)
    assert set_up.main("dev", "42 7") == 0
    assert (venv / "complete-dev").read_text() == (venv / "complete-all").read_text() == "42 7\n"


def test_a_failed_step_says_so_and_leaves_no_stamp(venv: Path, monkeypatch: pytest.MonkeyPatch,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    def fail(profile: str) -> None:
        set_up.run([sys.executable, "-c", "print('no such wheel'); raise SystemExit(3)"])

    monkeypatch.setattr(set_up, "set_up", fail)
    assert set_up.main("all", "1") == 2
    told = capsys.readouterr().err
    assert "no such wheel" in told
    assert "exit code 3" in told
    assert not (venv / "complete-all").exists()


def test_a_second_set_up_waits_for_the_first_and_does_nothing(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def slowly(profile: str) -> None:
        time.sleep(0.3)
        (venv / "lib" / f"python3.{sys.version_info[1]}").mkdir(parents=True)
        made.append(profile)

    monkeypatch.setattr(set_up, "set_up", slowly)
    both = [threading.Thread(target=set_up.main, args=("all", "1")) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert made == ["all"]


def test_a_broken_environment_is_replaced(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(set_up, "run", lambda command, **_: ran.append([str(word) for word in command]) or 0)
    (venv / "lib").mkdir(parents=True)
    (venv / "lib" / "half").write_text("an interrupted install")
    (venv / "set-up.log").write_text("what happened")
    set_up.make_venv()
    assert ran == [[sys.executable, "-m", "venv", str(venv)]]
    assert [file.name for file in venv.iterdir()] == ["set-up.log"]


def fake_python(directory: Path, answer: str) -> Path:
    """A python that answers every question with the same words."""
    python = directory / "python"
    python.write_text(f"#!/bin/sh\necho {answer}\n")
    python.chmod(0o755)
    return python


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HOROVOD_GPU_OPERATIONS", "HOROVOD_WITH_MPI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_another_torch_or_another_option_is_another_wheel(cache: Path, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    def place(host: str) -> Path:
        directory: Path = horovod_wheel.wheel_directory(fake_python(tmp_path, host), "horovod==0.28.1")
        return directory

    cpu = place("cp311-torch2.13.0+cpu-linux-x86_64")
    assert cpu.is_relative_to(cache / "purchasepath" / "wheels" / "horovod-0.28.1")
    assert cpu == place("cp311-torch2.13.0+cpu-linux-x86_64")
    assert cpu != place("cp311-torch2.13.0+cu128-linux-x86_64")
    monkeypatch.setenv("HOROVOD_RANK", "0")  # of a running job, not of a build
    assert cpu == place("cp311-torch2.13.0+cpu-linux-x86_64")
    monkeypatch.setenv("HOROVOD_GPU_OPERATIONS", "NCCL")
    assert cpu != place("cp311-torch2.13.0+cpu-linux-x86_64")


def test_mpi_is_left_out_unless_it_is_asked_for(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert horovod_wheel.build_options()["HOROVOD_WITHOUT_MPI"] == "1"
    monkeypatch.setenv("HOROVOD_WITH_MPI", "1")
    assert "HOROVOD_WITHOUT_MPI" not in horovod_wheel.build_options()


def test_the_source_is_edited_built_and_kept(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: dict[str, Any] = {}
    edited = {edit.file for edit in horovod_wheel.EDITS}

    def run(command: list[Any], *, env: dict[str, str]) -> int:
        if "download" in command:
            source = tmp_path / "horovod-0.28.1"
            for name in edited:
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                (source / name).write_text("\n".join(e.old for e in horovod_wheel.EDITS if e.file == name))
            released = Path(command[command.index("--dest") + 1]) / "horovod-0.28.1.tar.gz"
            with tarfile.open(released, "w:gz") as archive:
                archive.add(source, "horovod-0.28.1")
            monkeypatch.setattr(horovod_wheel, "SOURCE_SUM", wheels.sum_of(released))
        else:
            built.update(env, sources={name: (command[-1] / name).read_text() for name in edited})
            out = Path(command[command.index("--wheel-dir") + 1])
            out.mkdir()
            (out / "horovod-0.28.1-cp311-cp311-linux_x86_64.whl").write_text("a wheel")
        return 0

    python = fake_python(tmp_path, "cp311-torch2.13.0-linux-x86_64")
    assert horovod_wheel.find_horovod(python, "horovod==0.28.1") is None
    wheel = horovod_wheel.build_horovod(python, "horovod==0.28.1", run)
    for edit in horovod_wheel.EDITS:
        assert edit.new in built["sources"][edit.file]
        assert edit.old not in built["sources"][edit.file]
    assert built["CMAKE_POLICY_VERSION_MINIMUM"] == "3.5"
    assert wheel.read_text() == "a wheel"
    assert horovod_wheel.find_horovod(python, "horovod==0.28.1") == wheel
    wheel.write_text("another wheel")
    assert horovod_wheel.find_horovod(python, "horovod==0.28.1") is None


def test_an_archive_that_is_not_the_known_release_is_not_built(cache: Path, tmp_path: Path) -> None:
    def run(command: list[Any], **_: Any) -> int:
        (Path(command[command.index("--dest") + 1]) / "horovod-0.28.1.tar.gz").write_bytes(b"another release")
        return 0

    with pytest.raises(RuntimeError, match="not the release that is known here"):
        horovod_wheel.build_horovod(fake_python(tmp_path, "cp311"), "horovod==0.28.1", run)


def test_an_edit_that_finds_nothing_to_replace_is_told() -> None:
    with pytest.raises(RuntimeError, match=r"a\.txt of it 1\.0 does not contain 'old words'"):
        wheels.edited("new words", wheels.Edit("a.txt", "old words", "other words", "why"), "it 1.0")


def test_without_horovod_set_up_goes_on_and_says_what_joins_the_ranks(
        venv: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: Any) -> None:
        raise set_up.StepFailedError("no compiler")

    monkeypatch.setattr(set_up, "find_horovod", lambda *_: None)
    monkeypatch.setattr(set_up, "build_horovod", fail)
    venv.mkdir()
    set_up.install_horovod()
    assert "training.backend: torch" in capsys.readouterr().err
    assert (venv / "without-horovod").read_text() == "no compiler\n"


@pytest.fixture
def asked_of_pip(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What set-up asks pip for, with the content of requirement files in the place of their names."""
    asked: list[str] = []

    def pip(*arguments: str) -> None:
        asked.extend(Path(word).read_text() if word.endswith(".txt") else word for word in arguments)

    monkeypatch.setattr(set_up, "pip", pip)
    return asked


LOCKED = ["torch==2.15.0 \\\n    --hash=sha256:1",
          "nvidia-cublas==13 ; sys_platform == 'linux' \\\n    --hash=sha256:2",
          "numpy==2.4.6 \\\n    --hash=sha256:3"]


def test_packages_come_from_the_lock_alone_and_by_their_sums(asked_of_pip: list[str]) -> None:
    set_up.install_packages(LOCKED)
    assert asked_of_pip == ["install", "--no-deps", "--require-hashes", "--requirement", "\n".join(LOCKED) + "\n"]


def test_a_torch_of_the_user_s_own_takes_the_place_of_the_index_s(
        asked_of_pip: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PURCHASEPATH_TORCH", "torch-2.15.0+cpu.whl")
    set_up.install_packages(LOCKED)
    assert asked_of_pip[:3] == ["install", "--no-deps", "torch-2.15.0+cpu.whl"]
    assert asked_of_pip[-1] == f"{LOCKED[2]}\n"


def test_every_locked_package_has_an_exact_version_and_sums() -> None:
    entries = lock.split_lock(lock.read_lock("dev"))
    assert len(entries) > 100
    for entry in entries:
        assert re.match(r"[a-z0-9-]+==[^ ]+ .*--hash=sha256:[0-9a-f]{64}", entry, re.DOTALL), entry


def test_the_lock_meets_setup_py_and_tests_need_more_than_a_pipeline() -> None:
    assert lock.faults() == []
    names = {profile: {lock.package(entry) for entry in lock.split_lock(lock.read_lock(profile))}
             for profile in ("all", "dev")}
    assert {"pytest", "ruff"} <= names["dev"] - names["all"]
    assert {"pyspark", "torch", "mlflow", "setuptools"} <= names["all"]


def test_a_version_outside_its_range_is_a_fault_of_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    pins = {**lock.read_pins(), "BUILD": ["numpy<2", "no-such-package>=1"]}
    monkeypatch.setattr(lock, "read_pins", lambda: pins)
    assert lock.faults() == ["no-such-package>=1", "numpy<2"]
