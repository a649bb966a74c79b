"""Directories sent to executors: once per driver and content, whoever asks for them, and however often.

Spark keeps what it distributes under its file name for as long as the driver lives, and refuses the same name from
another place. Names of cargo therefore carry a digest of the content, and what was sent is not packed again.
"""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tempfile
from pathlib import Path

from pyspark import SparkFiles
from pyspark.sql import SparkSession

_sent: set[tuple[str, str]] = set()
"""(application, name) of all that this process has sent."""


def send_directory(spark: SparkSession, directory: Path, name: str) -> str:
    """The label under which `delivered` finds a copy of `directory` in every task from now on."""
    label = f"{name}-{_digest(directory)[:12]}"
    context = spark.sparkContext
    if (context.applicationId, label) not in _sent:
        scratch = tempfile.mkdtemp(prefix="purchasepath-")
        atexit.register(shutil.rmtree, scratch, ignore_errors=True)  # executors may fetch it until the job ends
        packed = shutil.make_archive(f"{scratch}/{label}", "zip", directory)
        context.addArchive(f"{Path(packed).as_uri()}#{label}")
        _sent.add((context.applicationId, label))
    return label


def delivered(label: str) -> Path:
    """Where the directory lies unpacked; on the driver and in tasks."""
    return Path(SparkFiles.get(label))


def _digest(directory: Path) -> str:
    """Of all files' names and contents."""
    digest = hashlib.sha256()
    for file in sorted(file for file in directory.rglob("*") if file.is_file()):
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"{file.relative_to(directory).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()
