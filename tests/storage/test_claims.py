"""One run at a time writes to a directory, and a claim ends with the process that holds it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from purchasepath.storage.claims import ClaimedError, claim

HOLD = "import sys, time; from pathlib import Path; from purchasepath.storage.claims import claim\n" \
       "with claim(Path(sys.argv[1]), 'run-a', 'paths.dataset'): print('held', flush=True); time.sleep(60)"


def test_a_second_run_is_told_whose_directory_it_is_until_that_process_is_gone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "d")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (pytest.raises(ClaimedError, match=rf"run-a, process {holder.pid} on .*--set paths\.dataset="),
              claim(tmp_path / "d", "run-b", "paths.dataset")):
            pass
        holder.kill()
        holder.wait()
        with claim(tmp_path / "d", "run-b", "paths.dataset"):
            pass
