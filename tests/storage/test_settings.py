"""Settings that change results are the same in every run."""

from __future__ import annotations

import os
import time

import pytest
from pyspark.sql import SparkSession

from purchasepath.config import load_config
from purchasepath.job import Job, guarded
from purchasepath.storage.session import build_session
from purchasepath.storage.settings import PINNED, SettingError, drop_foreign_defaults, refuse_settings, require_utf8


@pytest.mark.parametrize(("key", "value"), [
    ("spark.sql.session.timeZone", "Europe/Berlin"), ("spark.sql.ansi.enabled", "false"),
    ("spark.sql.caseSensitive", "true"), ("spark.sql.legacy.timeParserPolicy", "LEGACY"),
    ("spark.sql.parquet.outputTimestampType", "INT96"), ("spark.sql.files.ignoreMissingFiles", "true"),
    ("spark.sql.catalogImplementation", "hive"),
])
def test_a_setting_that_changes_results_is_refused_by_name(spark: SparkSession, key: str, value: str) -> None:
    job = Job("ingest", load_config([], [f"spark.conf.{key}={value}"]), spark=spark)
    with pytest.raises(SettingError, match=f"{key}: {value}"):
        _ = job.spark


def test_all_of_them_are_told_together() -> None:
    with pytest.raises(SettingError) as refused:
        refuse_settings({"spark.sql.ansi.enabled": "false", "spark.x": "1", "spark.sql.legacy.a": "true"}, "embedded")
    assert [line for line in str(refused.value).splitlines() if line.startswith("  - ")] == [
        "  - spark.sql.ansi.enabled: false (here it is always true)",
        "  - spark.sql.legacy.a: true (here it is always Spark's default)"]


def test_other_settings_and_the_ones_we_use_ourselves_are_taken() -> None:
    refuse_settings({"spark.sql.shuffle.partitions": "3", "spark.sql.session.timeZone": "utc",
                     "spark.sql.catalogImplementation": "hive"}, "hive")


def test_the_session_has_the_settings_that_results_depend_on(spark: SparkSession) -> None:
    assert {key: spark.conf.get(key) for key in PINNED} == PINNED


def test_what_a_cluster_has_for_its_default_does_not_count(spark: SparkSession) -> None:
    theirs = {"spark.sql.session.timeZone": "Asia/Tokyo", "spark.sql.ansi.enabled": "false",
              "spark.sql.caseSensitive": "true", "spark.sql.timestampType": "TIMESTAMP_NTZ"}
    assert theirs.keys() <= PINNED.keys()
    try:
        for key, value in theirs.items():
            spark.conf.set(key, value)
        session = build_session("tests", load_config([], ["spark.shuffle_partitions=4"]))
        assert {key: session.conf.get(key) for key in PINNED} == PINNED
    finally:
        for key in theirs:
            spark.conf.set(key, PINNED[key])


def test_what_a_cluster_says_of_legacy_behaviour_does_not_count(
        spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "spark.sql.legacy.timeParserPolicy"
    default = spark.conf.get(key)
    spark.conf.set(key, "LEGACY")
    conf = spark.sparkContext.getConf().set(key, "LEGACY")
    monkeypatch.setattr(spark.sparkContext, "getConf", lambda: conf)
    try:
        drop_foreign_defaults(spark)
        assert spark.conf.get(key) == default != "LEGACY"
    finally:
        spark.conf.unset(key)


def test_a_jvm_that_cannot_name_every_file_is_refused(spark: SparkSession) -> None:
    require_utf8(spark)
    system = spark.sparkContext._jvm.java.lang.System  # type: ignore[union-attr]
    before = system.setProperty("sun.jnu.encoding", "ANSI_X3.4-1968")
    try:
        with pytest.raises(SettingError, match=r"ANSI_X3\.4-1968.*LC_ALL=C\.UTF-8"):
            build_session("tests", load_config([], []))
    finally:
        system.setProperty("sun.jnu.encoding", before)


def test_python_gets_spark_s_times_in_utc_wherever_the_machine_stands(
        spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    seen: list[str] = []
    assert guarded(lambda: seen.append(str(spark.sql("select timestamp'2023-01-01 23:30:00'").collect()[0][0]))) == 0
    assert (seen, os.environ["TZ"]) == (["2023-01-01 23:30:00"], "UTC")
