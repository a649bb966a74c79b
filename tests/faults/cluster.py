"""A real standalone cluster on the loopback interface, from pip's pyspark: a master, workers, and executors to kill."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pyspark

ROOT = Path(__file__).resolve().parents[2]
SPARK_HOME = Path(pyspark.__file__).parent
EXECUTOR = "CoarseGrainedExecutorBackend"
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Cluster:
    """Its address, and the processes whose children are executors."""

    url: str
    worker_pids: frozenset[int]

    def executors(self) -> set[int]:
        """Process ids of all living executors."""
        return {pid for pid, parent, command in _processes() if parent in self.worker_pids and EXECUTOR in command}

    def submit(self, job: str, arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """jobs/<job>.py through spark-submit; what it prints goes to `log`."""
        command = [
            str(SPARK_HOME / "bin/spark-submit"), "--master", self.url, "--driver-memory", "1g",
            "--executor-memory", "700m", "--conf", "spark.executor.cores=1",
            "--conf", "spark.task.maxFailures=30",  # a lost executor costs its task one of these
            "--conf", "spark.stage.maxConsecutiveAttempts=30",
            "--conf", "spark.ui.enabled=false", "--conf", "spark.driver.host=127.0.0.1",
            str(ROOT / "jobs" / f"{job}.py"), *arguments,
        ]
        with log.open("wb") as output:
            return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=_environment(),
                                    start_new_session=True)


@contextmanager
def standalone_cluster(directory: Path, *, workers: int = 2, **environment: str) -> Iterator[Cluster]:
    """A master and workers of one core each; everything is stopped at the end."""
    port = _free_port()
    url = f"spark://127.0.0.1:{port}"
    daemons = [_daemon(directory, environment, "master.Master", "--port", str(port))]
    try:
        _wait_for_port(port)
        for number in range(workers):
            daemons.append(_daemon(directory, environment, "worker.Worker", "--cores", "1", "--memory", "1g",
                                   "--work-dir", str(directory / f"work-{number}"), url))
        yield Cluster(url, frozenset(daemon.pid for daemon in daemons[1:]))
    finally:
        for daemon in reversed(daemons):
            os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()


def kill_executors(cluster: Cluster, job: subprocess.Popen[bytes], *, kills: int, random: Random) -> int:
    """Kills random executors at random moments while the job runs, each once the one before was replaced.

    The number of kills, which is smaller where the job was done before.
    """
    for done in range(kills):
        if not _wait(lambda: cluster.executors() or job.poll() is not None):
            raise TimeoutError(f"no executor within {PATIENCE_SECONDS} s")
        if not _sleep(random.uniform(1.0, 5.0), job):
            return done
        victims = sorted(cluster.executors())
        if victims:
            os.kill(random.choice(victims), signal.SIGKILL)
    return kills


def _sleep(seconds: float, job: subprocess.Popen[bytes]) -> bool:
    """Whether the job still runs after that time."""
    try:
        job.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def _daemon(directory: Path, environment: Mapping[str, str], name: str, *arguments: str) -> subprocess.Popen[bytes]:
    command = [str(SPARK_HOME / "bin/spark-class"), f"org.apache.spark.deploy.{name}", "--host", "127.0.0.1",
               "--webui-port", "0", *arguments]
    with (directory / f"{name}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=directory,
                                env=_environment() | environment, start_new_session=True)


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        "SPARK_HOME": str(SPARK_HOME), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_CONF_DIR": str(ROOT / "conf/spark"), "SPARK_NO_DAEMONIZE": "1",
        "SPARK_MASTER_OPTS": "-Dspark.deploy.maxExecutorRetries=-1",  # or the tenth kill ends the application
        "PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT / "lib"),
    }


def _processes() -> Iterator[tuple[int, int, str]]:
    """(pid, parent, command line) of every process."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended while we looked
        yield int(entry.name), int(parent), command


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_for_port(port: int) -> None:
    def answers() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    if not _wait(answers):
        raise TimeoutError(f"the master does not answer within {PATIENCE_SECONDS} s")


def _wait(condition: Callable[[], object]) -> bool:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.1)
    return False
