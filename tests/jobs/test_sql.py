"""sql from the shell to the answer, on a machine that is set up for something else."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

QUERY = "select upper('title') as t, 'schön' as s, explode(sequence(1, 200000)) as n"


@pytest.mark.slow
def test_a_query_is_answered_whatever_others_have_set_up_and_whoever_stops_reading(tmp_path: Path) -> None:
    """No locale and no home, as cron starts it; another Spark, another Python, a notebook, a Turkish JVM; a `head`."""
    (tmp_path / "old" / "pyspark").mkdir(parents=True)
    (tmp_path / "old" / "pyspark" / "__init__.py").write_text("raise ImportError('an old PySpark')\n")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "spark-env.sh").write_text("export SPARK_HOME=/opt/spark2\n")
    here = tmp_path / "my shop"
    here.mkdir()
    java = f"{os.environ.get('JAVA_HOME', '/usr')}/bin"
    environment = {
        "PATH": os.pathsep.join([java, os.environ["PATH"]]), "JAVA_HOME": "/nonexistent",
        "SPARK_HOME": "/opt/spark-3.3", "SPARK_CONF_DIR": f"{tmp_path}/conf", "PYTHONPATH": f"{tmp_path}/old",
        "PYSPARK_PYTHON": "/usr/bin/python3", "PYSPARK_DRIVER_PYTHON": "jupyter",
        "PYSPARK_DRIVER_PYTHON_OPTS": "notebook",
        "JAVA_TOOL_OPTIONS": "-Duser.language=tr -Duser.country=TR",
    }
    with (tmp_path / "err").open("wb") as err:
        job = subprocess.Popen([ROOT / "spark-submit.sh", "sql", QUERY, "--format", "csv"], env=environment, cwd=here,
                               stdout=subprocess.PIPE, stderr=err)
        assert job.stdout is not None
        lines = [job.stdout.readline().decode() for _ in range(2)]
        job.stdout.close()
        code = job.wait(120)
    told = (tmp_path / "err").read_text()
    assert (lines, code) == (["t,s,n\n", "TITLE,schön,1\n"], 0), told
    assert "Traceback" not in told
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["conf", "err", "my shop", "old"]
