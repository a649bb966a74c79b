"""What is sent to executors: once per driver and content, from whatever directory."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from purchasepath.storage.cargo import delivered, send_directory


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "one" / "below").mkdir(parents=True)
    (tmp_path / "one" / "below" / "file").write_text("content")
    return tmp_path / "one"


def test_the_same_content_is_sent_once(spark: SparkSession, directory: Path) -> None:
    label = send_directory(spark, directory, "thing")
    sent = len(spark.sparkContext.listArchives)
    copy = directory.rename(directory.with_name("two"))
    assert send_directory(spark, copy, "thing") == label
    assert len(spark.sparkContext.listArchives) == sent
    assert (delivered(label) / "below" / "file").read_text() == "content"


def test_other_content_goes_under_another_label(spark: SparkSession, directory: Path) -> None:
    label = send_directory(spark, directory, "changing")
    (directory / "below" / "file").rename(directory / "below" / "renamed")
    other = send_directory(spark, directory, "changing")
    assert other != label
    assert (delivered(other) / "below" / "renamed").read_text() == "content"
