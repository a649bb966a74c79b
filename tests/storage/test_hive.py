"""The Hive variant keeps the warehouse's contract; by configuration alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from purchasepath.errors import DamagedWarehouseError
from purchasepath.storage import hadoop_files
from purchasepath.storage.hadoop_files import HadoopFiles
from purchasepath.storage.hive_files import faults_of, live_contents, write_list
from tests.storage.hive import run_in_own_process


@pytest.mark.slow
def test_the_contract_holds_in_a_hive_metastore(tmp_path: Path) -> None:
    run_in_own_process(Path(__file__).with_name("hive_contract.py"), tmp_path, "the contract holds")


def test_files_that_python_does_not_open_are_known_by_their_file_system_s_checksums(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of HDFS, which keeps checksums of its own; here a file's text stands for its checksum."""
    monkeypatch.setattr(hadoop_files, "_on_this_machine", lambda _: None)
    monkeypatch.setattr(HadoopFiles, "_checksum", lambda _, path: Path(path.removeprefix("file:")).read_text())
    files, run = HadoopFiles(spark), tmp_path / "scores/r1"
    (run / "d=1").mkdir(parents=True)
    (run / "d=2").mkdir()
    for name in ("d=1/a", "d=1/b", "d=1/c", "d=2/replaced since"):
        (run / name).write_text(name)
    root = files.qualified(str(tmp_path / "scores"))
    digest = write_list(files, f"{root}/r1")

    def faults(*, whole: bool | None = None) -> list[str]:
        return list(faults_of(files, live_contents(files, root, [f"{root}/r1/d=1"], {"r1": digest}), whole=whole))

    (run / "d=2/replaced since").unlink()
    assert not faults()
    (run / "d=1/a").write_text("d=1/A")
    (run / "d=1/b").write_text("longer than before")
    (run / "d=1/c").rename(run / "d=1/stray")
    told = [f"{root}/r1/d=1/{fault}" for fault in (
        "a: its content is not what was written (its digest differs)", "b: has 18 bytes, 5 were written",
        "c: is missing", "stray: no commit wrote this file; move it away")]
    assert faults() == told
    assert faults(whole=False) == told[1:]
    (run / "_files.json").unlink()
    with pytest.raises(DamagedWarehouseError, match="the list of its files is missing"):
        faults()


def test_a_file_system_without_checksums_is_asked_and_says_so(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    assert HadoopFiles(spark)._checksum(str(tmp_path / "a")) == ""
