"""Spark's errors about damaged raw files, as one clear InputError."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

from purchasepath.errors import InputError

SIGNS = {
    "is not a Parquet file": "it is not a Parquet file",
    "CANNOT_READ_FILE_FOOTER": "its Parquet footer is damaged",
    "not a gzip file": "it is not packed by gzip, though its name says so",
    "incorrect header check": "it is not packed by gzip, though its name says so",
    "Unexpected end of input stream": "its gzip data end too early: the file was cut short",
    "unexpected end of file": "its data end too early: the file was cut short",
    "EOFException": "its data end too early: the file was cut short",
    "invalid block type": "its gzip data are damaged",
    "invalid stored block": "its gzip data are damaged",
    "invalid distance": "its gzip data are damaged",
    "invalid code lengths": "its gzip data are damaged",
    "invalid bit length": "its gzip data are damaged",
    "incorrect data check": "its gzip data are damaged (wrong checksum)",
    "stored gzip CRC": "its gzip data are damaged (wrong checksum)",
    "stored gzip size": "its gzip data are damaged (wrong size)",
    "ZipException": "its gzip data are damaged",
    "PARQUET_COLUMN_DATA_TYPE_MISMATCH": "a column has another type than in the other files (of more than a thousand "
                                         "files not all are looked into); deliver those of one type at a time",
    "ParquetDecodingException": "its Parquet data are damaged",
    "FAILED_READ_FILE": "its data are damaged",
}


@contextmanager
def explained_damage() -> Iterator[None]:
    """Raises InputError where the block fails because a raw file cannot be read; other errors pass through."""
    try:
        yield
    except (PySparkException, Py4JJavaError) as failure:
        fault = damage(str(failure))
        if fault is None:
            raise
        raise InputError(fault) from None


def damage(message: str) -> str | None:
    """What is wrong with which file; None for a failure that is not about reading one."""
    if "FAILED_READ_FILE" not in message and "CANNOT_READ_FILE_FOOTER" not in message:
        return None
    named = re.search(r"(?:reading|read) file:? ?(\S+?)\.(?:\s|$)|footer of file:? ?(\S+?)\.(?:\s|$)", message)
    file = next((found for found in named.groups() if found), "a raw file") if named else "a raw file"
    meaning = next(text for sign, text in SIGNS.items() if sign in message)
    return f"{file.removeprefix('file://')} cannot be read: {meaning}. Copy or pack it again, or leave it out"
