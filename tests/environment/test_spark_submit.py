"""The command line: what goes to spark-submit, what to the job, what is answered at once.

A checkout of its own with a fake spark-submit that prints what it was given.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from purchasepath.stages import STAGES, Stage, help_text

ROOT = Path(__file__).resolve().parents[2]
FAKE_SUBMIT = """#!/usr/bin/env bash
printf 'arg:%s\\n' "$@"
for name in SPARK_HOME SPARK_CONF_DIR SPARK_LOCAL_IP SPARK_REMOTE SPARK_SUBMIT_OPTS PYSPARK_PYTHON \
    PYSPARK_DRIVER_PYTHON PYSPARK_DRIVER_PYTHON_OPTS PYTHONPATH PYTHONHOME PYTHONSTARTUP JAVA_HOME LC_ALL TZ; do
  echo "$name=${!name:-}"
done
echo 'WARNING: Using incubator modules: jdk.incubator.vector' >&2
echo 'a line of the job' >&2
exit "${EXIT_WITH:-0}"
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout whose environment is complete and whose spark-submit tells what it was called with."""
    root = tmp_path_factory.mktemp("a checkout")  # with a space in its path
    for name in ("spark-submit.sh", "setup.py"):
        shutil.copy(ROOT / name, root)
    for name in ("environment", "conf", "jobs", "lib"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", ".*", "*.egg-info"))
    fake = root / ".venv/lib/python3.13/site-packages/pyspark/bin/spark-submit"
    fake.parent.mkdir(parents=True)
    fake.write_text(FAKE_SUBMIT)
    fake.chmod(0o755)
    (root / ".venv/bin").mkdir()
    (root / ".venv/bin/python").symlink_to(sys.executable)
    complete = "source environment/ensure.sh && wanted_stamp > .venv/complete-all"
    subprocess.run(["bash", "-c", complete], cwd=root, check=True)
    return root


def submit(checkout: Path, *arguments: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
    """`environment`: variables and their values, None for one that is not set."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK_", "PYSPARK_", "PURCHASEPATH_"))}
    there = {k: v for k, v in {**kept, **environment}.items() if v is not None}
    return subprocess.run([checkout / "spark-submit.sh", *arguments], env=there, cwd=checkout.parent,
                          capture_output=True, text=True, check=False, timeout=60)


def given(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    return [line.removeprefix("arg:") for line in done.stdout.splitlines() if line.startswith("arg:")]


def value(done: subprocess.CompletedProcess[str], name: str) -> str:
    return next(line.removeprefix(f"{name}=") for line in done.stdout.splitlines() if line.startswith(f"{name}="))


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_every_stage_of_the_list_is_known(checkout: Path, stage: Stage) -> None:
    done = submit(checkout, stage.name, "--driver-memory")  # refused once the stage is accepted
    assert (done.returncode, done.stderr) == (2, "error: --driver-memory expects a value\n")


def test_without_a_python_it_still_tells_how_to_use_it(checkout: Path, tmp_path: Path) -> None:
    for tool in ("bash", "env", "dirname", "cat"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    assert help_text() in submit(checkout, "--help", PATH=str(tmp_path)).stdout


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_without_a_stage_it_tells_how_to_use_it(checkout: Path, arguments: list[str]) -> None:
    done = submit(checkout, *arguments)
    assert done.returncode == 0
    assert done.stdout.startswith(f"./spark-submit.sh <stage> [options]\n\n{help_text()}\noptions:\n")


def test_an_unknown_stage_names_the_nearest(checkout: Path) -> None:
    done = submit(checkout, "sesionise")
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown stage `sesionise` (did you mean `sessionize`?)")


def test_a_stage_runs_on_all_cores_of_this_machine(checkout: Path) -> None:
    done = submit(checkout, "features")
    assert given(done) == ["--master", "local[*]", "--properties-file", f"{checkout}/conf/spark/local.conf",
                           f"{checkout}/jobs/features.py"]
    assert value(done, "PYSPARK_PYTHON") == value(done, "PYSPARK_DRIVER_PYTHON") == f"{checkout}/.venv/bin/python"
    assert value(done, "SPARK_LOCAL_IP") == "127.0.0.1"
    assert value(done, "SPARK_CONF_DIR") == f"{checkout}/conf/spark"


def test_options_of_spark_and_of_the_job_are_told_apart(checkout: Path) -> None:
    passed = given(submit(checkout, "sql", "select 'a b' as x", "--conf", "spark.a=1 2", "--format=csv",
                          "--master=local[2]", "--config", "my conf.yaml", "--driver-memory", "3g",
                          "--set", "score.top_k=3", "--verbose"))
    script = passed.index(f"{checkout}/jobs/sql.py")
    assert passed[:4] == ["--master", "local[2]", "--conf",
                          "spark.driver.defaultJavaOptions=-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"]
    assert passed[4:script] == ["--conf", "spark.a=1 2", "--driver-memory", "3g", "--verbose",
                               "--properties-file", f"{checkout}/conf/spark/local.conf"]
    assert passed[script + 1:] == ["select 'a b' as x", "--format=csv", "--config", "my conf.yaml",
                                   "--set", "score.top_k=3"]


def test_an_option_without_its_value_is_refused(checkout: Path) -> None:
    done = submit(checkout, "train", "--master")
    assert (done.returncode, done.stderr) == (2, "error: --master expects a value\n")


def test_what_the_user_has_set_stays(checkout: Path) -> None:
    done = submit(checkout, "features", "--properties-file", "mine.conf", SPARK_LOCAL_IP="10.0.0.1")
    assert "mine.conf" in given(done)
    assert value(done, "SPARK_LOCAL_IP") == "10.0.0.1"


FOREIGN = {
    "SPARK_HOME": "/opt/spark", "SPARK_CONF_DIR": "/etc/spark/conf", "PYSPARK_PYTHON": "/opt/python",
    "PYSPARK_DRIVER_PYTHON": "jupyter", "PYSPARK_DRIVER_PYTHON_OPTS": "notebook", "SPARK_REMOTE": "sc://elsewhere",
    "PYTHONPATH": "/opt/old",
}


def test_what_another_spark_has_set_up_counts_on_clusters_only(checkout: Path) -> None:
    here = submit(checkout, "features", **FOREIGN)
    python, spark = f"{checkout}/.venv/bin/python", value(here, "SPARK_HOME")
    assert spark.startswith(f"{checkout}/.venv/lib/")
    assert {name: value(here, name) for name in FOREIGN} == {
        "SPARK_HOME": spark, "SPARK_CONF_DIR": f"{checkout}/conf/spark", "PYSPARK_PYTHON": python,
        "PYSPARK_DRIVER_PYTHON": python, "PYSPARK_DRIVER_PYTHON_OPTS": "", "SPARK_REMOTE": "",
        "PYTHONPATH": f"{checkout}/lib"}
    documented = {**FOREIGN, "SPARK_HOME": spark}
    there = submit(checkout, "features", "--master", "yarn", **documented)
    assert {name: value(there, name) for name in FOREIGN} == documented


def test_python_starts_without_foreign_settings(checkout: Path) -> None:
    done = submit(checkout, "features", PYTHONSTARTUP="/opt/startup.py", PYTHONHOME="/opt/old")
    assert value(done, "PYTHONSTARTUP") == value(done, "PYTHONHOME") == ""


def test_a_java_home_that_is_none_gives_way_to_the_java_that_is_there(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/java").touch(0o755)
    (tmp_path / "release").write_text('JAVA_VERSION="17.0.9"\n')
    path = os.pathsep.join([f"{tmp_path}/bin", os.environ["PATH"]])
    done = submit(checkout, "features", PATH=path, JAVA_HOME="/nonexistent", HOME=None)
    assert value(done, "JAVA_HOME") == str(tmp_path)


@pytest.mark.parametrize("given_by_the_machine", [
    {"LC_ALL": "POSIX", "TZ": "Asia/Tokyo"}, {"LC_ALL": "", "TZ": ""}, {"LC_ALL": None, "LANG": None, "TZ": None}])
def test_locale_and_zone_are_the_same_on_every_machine(
    checkout: Path, given_by_the_machine: dict[str, str | None]
) -> None:
    done = submit(checkout, "features", SPARK_SUBMIT_OPTS="-Dmine=1", **given_by_the_machine)
    assert (value(done, "LC_ALL"), value(done, "TZ")) == ("C.UTF-8", "UTC")
    assert value(done, "SPARK_SUBMIT_OPTS") == "-Dmine=1 -Dfile.encoding=UTF-8 -Duser.timezone=UTC"


def test_a_driver_on_the_cluster_gets_locale_and_zone(checkout: Path) -> None:
    passed = given(submit(checkout, "score", "--master", "yarn", "--deploy-mode", "cluster", TZ="Asia/Tokyo"))
    assert {"spark.yarn.appMasterEnv.LC_ALL=C.UTF-8", "spark.yarn.appMasterEnv.TZ=UTC",
            "spark.kubernetes.driverEnv.LC_ALL=C.UTF-8", "spark.kubernetes.driverEnv.TZ=UTC"} <= set(passed)


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_exit_code_is_the_job_s(checkout: Path, code: int) -> None:
    assert submit(checkout, "features", EXIT_WITH=str(code)).returncode == code


def test_only_the_greeting_of_the_jvm_is_kept_from_the_console(checkout: Path) -> None:
    assert submit(checkout, "features").stderr == "a line of the job\n"


def test_executors_of_a_cluster_get_the_package(checkout: Path) -> None:
    passed = given(submit(checkout, "score", "--master", "yarn", "--num-executors", "4", "--py-files", "mine.py"))
    mine, package = passed[passed.index("--py-files") + 1].split(",")
    assert mine == "mine.py"
    seen = subprocess.run([sys.executable, "-c", "import purchasepath.errors as e; print(e.__file__)"], cwd="/",
                          env={"PYTHONPATH": package}, capture_output=True, text=True, check=True).stdout
    assert seen.startswith(package)
    assert passed[passed.index("--properties-file") + 1].endswith("conf/spark/cluster.conf")
    assert "--load-spark-defaults" in passed


def test_local_cluster_is_a_cluster(checkout: Path) -> None:
    assert "--py-files" in given(submit(checkout, "score", "--master", "local-cluster[1,1,512]"))


def test_the_environment_travels_when_asked(checkout: Path) -> None:
    done = submit(checkout, "score", "--master", "yarn", "--pack-environment")
    passed = given(done)
    assert passed[passed.index("--archives") + 1].endswith(".tar.gz#environment")
    assert value(done, "PYSPARK_PYTHON") == "./environment/bin/python"
    assert value(done, "PYSPARK_DRIVER_PYTHON") == f"{checkout}/.venv/bin/python"


def test_a_driver_on_the_cluster_gets_the_configurations(checkout: Path) -> None:
    done = submit(checkout, "score", "--master", "yarn", "--deploy-mode", "cluster", "--pack-environment")
    passed = given(done)
    assert [part.split("#")[1] for part in passed[passed.index("--archives") + 1].split(",")] == ["environment", "conf"]
    assert value(done, "PYSPARK_DRIVER_PYTHON") == ""


def test_everything_that_is_missing_is_told_at_once(checkout: Path, tmp_path: Path) -> None:
    for tool in ("bash", "env", "dirname", "cat", "cksum", "sed", "cut", "tr", "readlink", "id"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    there = checkout / ".venv"
    aside = there.rename(checkout / ".venv-aside")  # its Python would do
    try:
        done = submit(checkout, "pipeline", PATH=str(tmp_path))
    finally:
        aside.rename(there)
    assert done.returncode == 2
    for missing in ("Python 3.11, 3.12 or 3.13", "a C++ compiler", "make"):
        assert f"  - {missing}\n" in done.stderr
