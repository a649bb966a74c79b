"""Set-up: interrupted, repaired, waited for; and the Horovod wheel that is built once for each kind of host."""

from __future__ import annotations

import sys
import tarfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.environment.scripts import load

horovod_wheel = load("horovod_wheel")
set_up = load("set_up")


@pytest.fixture
def venv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / ".venv"
    for name, path in {"VENV": directory, "PYTHON": directory / "bin/python", "LOG": directory / "set-up.log"}.items():
        monkeypatch.setattr(set_up, name, path)
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


def test_the_source_is_patched_built_and_kept(cache: Path, tmp_path: Path) -> None:
    built: dict[str, Any] = {}

    def run(command: list[Any], *, env: dict[str, str]) -> int:
        if "download" in command:
            source = tmp_path / "horovod-0.28.1"
            for name in horovod_wheel.CMAKE_FILES:
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                (source / name).write_text("set(CMAKE_CXX_STANDARD 14)\n")
            with tarfile.open(Path(command[command.index("--dest") + 1]) / "horovod-0.28.1.tar.gz", "w:gz") as archive:
                archive.add(source, "horovod-0.28.1")
        else:
            built.update(env, sources=[(command[-1] / name).read_text() for name in horovod_wheel.CMAKE_FILES])
            wheels = Path(command[command.index("--wheel-dir") + 1])
            wheels.mkdir()
            (wheels / "horovod-0.28.1-cp311-cp311-linux_x86_64.whl").write_text("a wheel")
        return 0

    python = fake_python(tmp_path, "cp311-torch2.13.0-linux-x86_64")
    assert horovod_wheel.find_horovod(python, "horovod==0.28.1") is None
    wheel = horovod_wheel.build_horovod(python, "horovod==0.28.1", run)
    assert built["sources"] == ["set(CMAKE_CXX_STANDARD 17)\n"] * 2
    assert built["CMAKE_POLICY_VERSION_MINIMUM"] == "3.5"
    assert wheel.read_text() == "a wheel"
    assert horovod_wheel.find_horovod(python, "horovod==0.28.1") == wheel
    assert [file.name for file in wheel.parent.iterdir()] == [wheel.name]
