"""Fixtures shared by all tests: one local Spark session, and the real data where it is at hand."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
os.environ["LC_ALL"] = "C.UTF-8"  # as spark-submit.sh has it: a JVM of another encoding is refused

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # jobs/ are scripts, not an installed package


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A file's content is no part of a test's name: a packed one holds the second it was packed in, and the workers
    of one run, each collecting by itself, must find the same names."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """One Spark session for all tests: local[2], UTC, few partitions."""
    from purchasepath.config import load_config
    from purchasepath.storage.session import build_session

    scratch = tmp_path_factory.mktemp("spark")
    config = load_config([], [f"paths.warehouse={scratch / 'warehouse'}", "spark.shuffle_partitions=4",
                              "spark.conf.spark.ui.enabled=false", "spark.driver_memory=1g",
                              # short runs: the first compiler alone is far quicker to start; its default code
                              # cache is full after some minutes, and then nothing is compiled any more
                              "spark.conf.spark.driver.extraJavaOptions=-XX:TieredStopAtLevel=1 "
                              "-XX:ReservedCodeCacheSize=400m"])
    session = build_session("tests", config, master="local[2]")
    yield session
    session.stop()


@pytest.fixture
def object_store(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of an empty bucket of an object store on this machine, which this process and Spark's tasks reach."""
    import logging

    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    reached = {"AWS_ENDPOINT_URL_S3": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "test", "AWS_REGION": "us-east-1",
               "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
    for name, value in reached.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setitem(spark.sparkContext.environment, name, value)
    bucket = f"shop-{secrets.token_hex(4)}"  # connections are kept by the bucket's name
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=bucket)
    yield f"s3a://{bucket}"
    server.stop()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Directory of real data sets beside the checkout; tests that need it skip where it is absent."""
    directory = Path(os.environ.get("PURCHASEPATH_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not directory.is_dir():
        pytest.skip(f"no real data at {directory}")
    return directory


@pytest.fixture(scope="session")
def mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides that name one MLflow store for all tests: creating one takes seconds of migrations."""
    directory = tmp_path_factory.mktemp("mlflow")
    return [f"tracking.uri=sqlite:///{directory / 'mlflow.db'}", f"tracking.artifacts={directory / 'artifacts'}"]
