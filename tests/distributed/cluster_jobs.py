"""Jobs on a standalone cluster as a stranger's.

Executors stand in directories of their own, know nothing of the checkout and get package and Python as
`--pack-environment` sends them; nobody talks to anybody without the secret.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT
from tests.distributed.sockets import Listener, watched
from tests.faults.cluster import SPARK_HOME, Cluster, standalone_cluster

SHIPPED_PYTHON = "./environment/bin/python"
SECRET = "for tests, known to master, workers and drivers"
PATIENCE_SECONDS = 1200
"""A whole pipeline took 472 s beside other tests."""


@dataclass(frozen=True)
class Done:
    """What a job ended with, and where processes of it, or of the cluster, have listened meanwhile."""

    code: int
    output: str
    listened: frozenset[Listener]


@dataclass(frozen=True)
class SecureCluster:
    cluster: Cluster
    shipped: Path
    environment: Mapping[str, str]

    def run(self, job: str, *arguments: str, stand_in: Path, options: Sequence[str] = (), packed: bool = False) -> Done:
        """A job, from the directory `stand_in`: as spark-submit.sh starts it; or by it, which packs `.venv`."""
        common = ["--master", self.cluster.url, "--driver-memory", "1g", "--executor-memory", "700m",
                  "--conf", "spark.ui.enabled=false", "--conf", "spark.driver.host=127.0.0.1", *options]
        shipped = ["--deploy-mode", "client", "--properties-file", str(ROOT / "conf/spark/cluster.conf"),
                   "--load-spark-defaults", "--conf", f"spark.executorEnv.PYSPARK_PYTHON={SHIPPED_PYTHON}",
                   "--py-files", str(next(self.shipped.glob("package-*.zip"))),
                   "--archives", f"{self.shipped / 'environment.tar.gz'}#environment"]
        command = [str(ROOT / "spark-submit.sh"), job, "--pack-environment", *common, *arguments] if packed else [
            str(SPARK_HOME / "bin/spark-submit"), *common, *shipped, str(ROOT / "jobs" / f"{job}.py"), *arguments]
        scratch = stand_in / "scratch of jobs"
        scratch.mkdir(exist_ok=True)
        environment = {**os.environ, **self.environment, "TMPDIR": str(scratch)}
        environment.pop("PYTHONPATH", None)
        if not packed:
            environment |= {"PYSPARK_PYTHON": SHIPPED_PYTHON, "PYSPARK_DRIVER_PYTHON": sys.executable}
        process = subprocess.Popen(command, cwd=stand_in, env=environment, text=True, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        with process, watched({process.pid, *self.cluster.worker_pids}) as listened:
            try:
                output, _ = process.communicate(timeout=PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                output, _ = process.communicate()
            except BaseException:  # a test that is interrupted leaves no job behind
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return Done(process.returncode, output, frozenset(listened))


@contextmanager
def secure_cluster(directory: Path) -> Iterator[SecureCluster]:
    """A master and two workers that share a secret."""
    shipped, conf = directory / "shipped", directory / "conf"
    conf.mkdir()
    secret = conf / "spark-defaults.conf"
    secret.touch(mode=0o600)
    demanded = [line for line in (ROOT / "conf/spark/cluster.conf").read_text().splitlines()
                if line.startswith(("spark.authenticate", "spark.network.crypto"))]
    secret.write_text("\n".join([*demanded, f"spark.authenticate.secret {SECRET}", ""]))
    (conf / "log4j2.properties").write_text((ROOT / "conf/spark/log4j2.properties").read_text())
    subprocess.run([sys.executable, str(ROOT / "environment/archive.py"), "package", str(shipped)], check=True,
                   stdout=subprocess.DEVNULL)
    _write_environment(directory, shipped / "environment.tar.gz")
    environment = {"SPARK_CONF_DIR": str(conf), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_HOME": str(SPARK_HOME)}
    with standalone_cluster(directory, **environment, PYTHONPATH="", PYSPARK_PYTHON="/nowhere") as cluster:
        yield SecureCluster(cluster, shipped, environment)


def _write_environment(directory: Path, archive: Path) -> None:
    """Stands for the archive of `.venv` on another host: a Python in a place of its own, which no checkout is in."""
    python, without = directory / "python", directory / "sitecustomize.py"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="$(dirname "$0"):$PYTHONPATH" exec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    without.write_text("import os, sys\n"
                       "sys.path[:] = [p for p in sys.path if not os.path.isdir(os.path.join(p, 'purchasepath'))]\n")
    with tarfile.open(archive, "w:gz") as out:
        out.add(python, "bin/python")
        out.add(without, "bin/sitecustomize.py")
