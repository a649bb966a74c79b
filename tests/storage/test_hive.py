"""The Hive variant keeps the warehouse's contract; by configuration alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_contract_holds_in_a_hive_metastore(tmp_path: Path) -> None:
    here = Path(__file__).resolve()
    result = subprocess.run(
        [sys.executable, str(here.with_name("hive_contract.py")), str(tmp_path)], cwd=tmp_path, text=True,
        capture_output=True, timeout=600, env={**os.environ, "PYTHONPATH": str(here.parents[2] / "lib")},
    )
    assert result.stdout.splitlines()[-1:] == ["the contract holds"], result.stderr[-4000:]
