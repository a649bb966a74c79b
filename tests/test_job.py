"""Exit codes, summaries and manifests of jobs."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from purchasepath.config import load_config
from purchasepath.errors import InputError, UserError, plain_text
from purchasepath.job import Job, Summary, guarded, main, run_job


def fail_with(error: BaseException) -> int:
    def work() -> None:
        raise error

    return guarded(work)


def fail_in_job(error: BaseException, *overrides: str) -> int:
    def fails(job: Job) -> Summary:
        raise error

    return guarded(lambda: run_job(Job("ingest", load_config([], overrides)), fails))


def test_a_user_error_is_one_message_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail_with(InputError("file x is empty; give paths.raw a file with events")) == 2
    assert capsys.readouterr().err == "\nerror: file x is empty; give paths.raw a file with events\n"


def test_a_defect_keeps_its_traceback_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail_with(ZeroDivisionError("boom")) == 1
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert "ZeroDivisionError: boom" in error
    assert "defect" in error


def test_a_full_disk_is_the_users_to_mend(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail_with(RuntimeError("x\njava.io.IOException: No space left on device\n\tat y")) == 2
    assert "the disk is full" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "told"), [
    (errno.EROFS, "give another path"), (errno.EACCES, "may not be written"), (errno.EPERM, "may not be written"),
    (errno.ENOTDIR, "there is a file"), (errno.EEXIST, "there is a file"), (errno.EISDIR, "there is a directory"),
    (errno.ENAMETOOLONG, "give a shorter one"), (errno.ELOOP, "leads to itself"), (errno.EDQUOT, "the disk is full")])
def test_a_place_that_cannot_be_written_is_the_users_to_mend(
        capsys: pytest.CaptureFixture[str], number: int, told: str) -> None:
    failure = OSError(number, os.strerror(number), "/mnt/warehouse" + ("/data" if number != errno.EEXIST else ""))
    assert fail_in_job(failure, "paths.warehouse=/mnt/warehouse") == 2
    error = capsys.readouterr().err
    assert told in error
    assert "/mnt/warehouse" in error


@pytest.mark.parametrize("failure", [
    OSError(errno.EACCES, os.strerror(errno.EACCES), "/mnt"),  # a directory above it
    RuntimeError("Job aborted\njava.io.FileNotFoundException: /mnt/warehouse/x (Permission denied)\n\tat y"),
    RuntimeError("PermissionError: [Errno 13] Permission denied: '/mnt/warehouse/staging/f'"),
    RuntimeError("[PATH_NOT_FOUND] Path does not exist: file:/mnt/warehouse/x. SQLSTATE: 42K03"),
])
def test_so_is_one_that_spark_or_a_worker_could_not_use(
        capsys: pytest.CaptureFixture[str], failure: Exception) -> None:
    assert fail_in_job(failure, "paths.warehouse=/mnt/warehouse") == 2
    assert "/mnt" in capsys.readouterr().err


@pytest.mark.parametrize("failure", [
    ValueError("Permission denied: '/mnt/warehouse'"),  # not of the file system
    OSError(errno.EACCES, os.strerror(errno.EACCES), "/proc/1/environ"),  # not of the configuration
    RuntimeError("x\njava.io.IOException: Not a directory: /opt/spark/jars"),
    OSError(errno.EEXIST, os.strerror(errno.EEXIST), "/mnt/warehouse/data/x"),  # we take no name twice
    RuntimeError("[PATH_NOT_FOUND] Path does not exist: file:/somewhere/else"),
])
def test_a_defect_that_speaks_of_permissions_is_ours(capsys: pytest.CaptureFixture[str], failure: Exception) -> None:
    assert fail_in_job(failure, "paths.warehouse=/mnt/warehouse") == 1
    assert "defect of purchasepath" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code", "told"), [
    (signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")])
def test_a_signal_is_one_line_and_its_exit_code(
        capsys: pytest.CaptureFixture[str], number: int, code: int, told: str) -> None:
    cleaned = []

    def work() -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        finally:
            os.kill(os.getpid(), number)  # an impatient second one
            cleaned.append(True)

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert guarded(work) == code
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert (cleaned, capsys.readouterr().err) == ([True], f"\n{told}; nothing unfinished was published\n")


def test_a_driver_ends_with_the_jvm_that_started_it(tmp_path: Path) -> None:
    driver = f"{sys.executable} -c 'import time; from purchasepath.job import guarded; " \
             f"print(guarded(lambda: (open(\"{tmp_path}/up\", \"w\"), time.sleep(300))))'"
    jvm = subprocess.Popen(["bash", "-c", f"{driver} > {tmp_path}/code 2> {tmp_path}/told & wait"],
                           env={**os.environ, "PYSPARK_GATEWAY_PORT": "1"})
    until = time.monotonic() + 120
    while not (tmp_path / "up").exists() and time.monotonic() < until:
        time.sleep(0.1)
    jvm.kill()
    jvm.wait()
    while not (tmp_path / "code").read_text() and time.monotonic() < until:
        time.sleep(0.1)
    assert (tmp_path / "code").read_text() == "143\n"
    assert (tmp_path / "told").read_text() == "\nterminated; nothing unfinished was published\n"


def test_an_unknown_key_on_the_command_line_exits_2_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    def never(job: Job) -> Summary:
        raise AssertionError

    with pytest.raises(SystemExit) as caught:
        main("ingest", never, ["--set", "sessions.gap_minute=3"])
    assert caught.value.code == 2
    assert "did you mean `gap_minutes`" in capsys.readouterr().err


def test_the_summary_is_printed_and_kept_as_a_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = Job("ingest", load_config([], [f"paths.runs={tmp_path}"]))
    told = Summary({"events": 1234567, "user_keys": 8}, ["books balance"])
    run_job(job, lambda _: told)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("ingest: done in ")
    assert printed[1:] == ["  events        1,234,567 rows", "  user_keys             8 rows", "  books balance",
                           "  next: ./spark-submit.sh sessionize"]
    manifest = json.loads((tmp_path / f"{job.run_id}.json").read_text())
    assert manifest["rows"] == {"events": 1234567, "user_keys": 8}
    assert manifest["config"]["sessions"]["gap_minutes"] == 30


def test_a_place_for_manifests_that_cannot_be_made_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")

    def never(job: Job) -> Summary:
        raise AssertionError

    with pytest.raises(UserError, match=r"there is a file: give another path\n.*/runs"):
        run_job(Job("ingest", load_config([], [f"paths.runs={tmp_path}/runs"])), never)


def test_a_shops_data_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(lambda: check_config("bad row:\n  \x1b]0;owned\x07 \u202exe.csv")) == 2
    assert capsys.readouterr().err == "\nerror: bad row:\n  \\x1b]0;owned\\x07 \\u202exe.csv\n"
    assert plain_text("schön\n😀") == "schön\\n😀"


def check_config(fault: str) -> None:
    raise UserError(fault)


def test_a_failed_job_leaves_no_manifest(tmp_path: Path) -> None:
    def fails(job: Job) -> Summary:
        raise UserError("no")

    with pytest.raises(UserError):
        run_job(Job("ingest", load_config([], [f"paths.runs={tmp_path}"])), fails)
    assert list(tmp_path.iterdir()) == []


def test_a_call_made_again_on_a_new_connection_shows_no_traceback(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a training, through which the connection to the JVM lay idle."""
    told = io.StringIO()
    root, handler = logging.getLogger(), logging.StreamHandler(told)
    monkeypatch.setattr(root, "handlers", [handler])
    monkeypatch.setattr(root, "level", logging.INFO)
    logging.disable(logging.NOTSET)  # as a job that was stopped has left it
    found = []

    def work() -> None:
        client = spark.sparkContext._gateway._gateway_client
        client.get_thread_connection().socket.shutdown(socket.SHUT_RDWR)
        found.append(spark.sparkContext._jsc.version())
        logging.getLogger("purchasepath.train").info("one line of a job")

    def in_a_thread() -> None:  # which has a connection of its own
        spark.sparkContext._jsc.version()
        found.append(guarded(work))

    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join()
    assert found == [spark.version, 0]
    assert told.getvalue() == "one line of a job\n"
