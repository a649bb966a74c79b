"""What executors are sent of an environment."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from environment import archive

KEPT = {"bin/python", "lib/python3.11/site-packages/pyspark/rdd.py", "lib/python3.11/site-packages/torch/lib/a.so",
        "lib/python3.11/site-packages/mlflow_like/a.py", "lib/python3.11/site-packages/sklearn/cmake/a.py"}
LEFT_OUT = {"bin/ruff", "set-up.log", "share/jupyter/a.js", "lib/python3.11/site-packages/pyspark/jars/a.jar",
            "lib/python3.11/site-packages/mlflow/a.py", "lib/python3.11/site-packages/torch/__pycache__/a.pyc",
            "lib/python3.11/site-packages/6ec57f84__mypyc.cpython-311-x86_64-linux-gnu.so"}


def test_executors_get_what_tasks_and_ranks_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv = tmp_path / "made elsewhere"
    for name in (*KEPT, *LEFT_OUT):
        (venv / name).parent.mkdir(parents=True, exist_ok=True)
        (venv / name).touch()
    (tmp_path / ".venv").symlink_to(venv)
    monkeypatch.setattr(archive, "ROOT", tmp_path)
    with tarfile.open(archive.main("environment", tmp_path / "shipped")) as packed:
        assert {member.name.removeprefix("./") for member in packed if member.isfile()} == KEPT
