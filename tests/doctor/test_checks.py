"""The doctor: versions, probes that crash, hang or lie, and the words it finds for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from purchasepath.doctor import checks, report
from purchasepath.doctor.checks import Finding, describe, first_line, free_gigabytes, packages, run_probe, satisfies

ROOT = Path(__file__).resolve().parents[2]
WELL = Finding("make", "4.3", "any", True, "install it")
ILL = Finding("torch", "none", "2.13.0", False, "run: make setup")
TOLD = Finding("GPU", "none", "optional", None)


def probe(directory: Path, body: str) -> Path:
    file = directory / "probe.py"
    file.write_text(f'"""a thing\nthat works\nmend it"""\n{body}\n', encoding="utf-8")
    return file


@pytest.mark.parametrize(("found", "expected", "fits"), [
    ("2.13.0+cpu", "==2.13.0", True), ("2.13.1", "==2.13.0", False), ("26.3", ">=23", True), ("3.0", ">=2.7,<3", False),
    ("2.10", ">=2.7,<3", True), ("2.7.0rc1", ">=2.7", True), ("1.26.4", "==1.26.4", True), ("9", ">=8.3,<10", True),
])
def test_versions_are_compared_as_numbers(found: str, expected: str, fits: bool) -> None:
    assert satisfies(found, expected) is fits


def test_a_probe_that_works_tells_what_it_found(tmp_path: Path) -> None:
    found = run_probe(probe(tmp_path, 'print("noise"); print(\'{"found": "three"}\')'), tmp_path / "s", 30)
    assert (found.component, found.expected, found.ok) == ("a thing", "that works", True)
    assert found.found.startswith("three (")


@pytest.mark.parametrize(("body", "reason"), [
    ("raise SystemExit('two and two made five')", "failed: two and two made five"),
    ("import nothing_of_this_name", "failed: ModuleNotFoundError"),
    ("import os; os.abort()", "failed: exit code -6"),
    ("pass", "failed: exit code 0"),
])
def test_a_probe_that_fails_is_a_row(tmp_path: Path, body: str, reason: str) -> None:
    found = run_probe(probe(tmp_path, body), tmp_path / "s", 30)
    assert found.ok is False
    assert found.found.startswith(reason)
    assert found.remedy == "mend it"


def test_a_probe_that_hangs_is_a_row_and_takes_its_children_along(tmp_path: Path) -> None:
    hangs = probe(tmp_path, "import subprocess; subprocess.run(['sleep', '60'])")
    started = time.monotonic()
    found = run_probe(hangs, tmp_path / "s", 1)
    assert time.monotonic() - started < 30
    assert found.ok is False
    assert "no answer" in found.found


@pytest.mark.parametrize("file", checks.PROBES, ids=lambda f: f.stem)
def test_every_probe_says_what_it_tries_what_it_expects_and_what_helps(file: Path) -> None:
    assert all(describe(file))


def test_a_missing_package_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "pinned", lambda root: ["no-such-package==1.0"])
    assert list(packages(ROOT)) == [Finding("no-such-package", "none", "1.0", False, checks.REPAIR)]


def test_a_tool_that_is_not_there_is_none() -> None:
    assert first_line(["no-such-tool", "--version"], "(.+)") is None
    assert first_line([sys.executable, "-c", "print('version 7')"], r"version (\d)") == "7"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_write_permission_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert free_gigabytes(tmp_path / "var") is None


def test_a_file_in_the_place_of_a_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("")
    assert free_gigabytes(tmp_path / "var") is None
    assert free_gigabytes(tmp_path / "not" / "yet" / "there") is not None


def test_table_names_the_remedy_of_what_failed_only() -> None:
    table = report.format_table([WELL, ILL, TOLD])
    assert "torch: run: make setup" in table
    assert "install it" not in table
    assert "1 of 3 need attention" in table


@pytest.mark.parametrize(("findings", "code"), [([WELL, TOLD], 0), ([WELL, ILL], 2)])
def test_exit_code_and_json_agree(findings: list[Finding], code: int, monkeypatch: pytest.MonkeyPatch,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(report, "examine", lambda root: findings)
    assert report.main(["--json"], ROOT) == code
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is (code == 0)
    assert [f["component"] for f in told["findings"]] == [f.component for f in findings]


def test_an_unknown_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main(["--jsn"], ROOT) == 2
    assert report.USAGE in capsys.readouterr().err


@pytest.mark.slow
def test_all_is_well_in_the_environment_of_these_tests() -> None:
    command = [sys.executable, ROOT / "jobs" / "doctor.py", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)
    assert not [f for f in told["findings"] if f["ok"] is False]
    assert done.returncode == 0
    assert {"a Spark job", "a two-rank allreduce", "an MLflow run", "a Petastorm read"} <= {
        f["component"] for f in told["findings"]}
