"""Keyed pseudonyms: HMAC-SHA256(key, raw id), its first 128 bits as 32 hex characters.

The HMAC is put together from Spark's built-in `sha2`, so no row passes through Python. The key's two padded
blocks travel as data (a one-row frame, joined by broadcast): a literal would stand in query plans, event logs
and the Spark UI. Who has the key can tell the pseudonym of any id; who has not cannot tell anything.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame, SparkSession

from purchasepath.config import Ingest
from purchasepath.errors import InputError

BLOCK_BYTES = 64  # of SHA-256
LEAST_KEY_LENGTH = 16
INNER, OUTER = "_pp_inner_pad", "_pp_outer_pad"


def load_key(config: Ingest) -> bytes:
    """The key: the environment variable's text, or else the key file's, made with fresh randomness if absent.

    Both are taken as text without surrounding blanks, so a key file's content may be moved to the variable.
    """
    given = os.environ.get(config.pseudonym_key_env)
    if given is not None:
        return _checked(given, f"the environment variable {config.pseudonym_key_env}")
    file = Path(config.pseudonym_key_file)
    try:
        if not file.exists():
            _make_key_file(file)
        mode = stat.S_IMODE(file.stat().st_mode)
        if mode & 0o077:
            raise InputError(f"key file {file} can be read by others (mode {mode:03o}, expected 600); "
                             f"run: chmod 600 {file}")
        return _checked(file.read_text(encoding="utf-8"), f"key file {file}")
    except (OSError, UnicodeDecodeError) as failure:
        raise InputError(f"key file {file} cannot be used: {failure}; give a key in the environment variable "
                         f"{config.pseudonym_key_env}, or another ingest.pseudonym_key_file") from None


def _make_key_file(file: Path) -> None:
    """Written under another name first: a process that is not the first to come finds a whole key or none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(secrets.token_hex(32) + "\n")
        os.link(temporary, file)
    except FileExistsError:
        pass  # another process was first; its key counts
    finally:
        temporary.unlink()


def _checked(text: str, origin: str) -> bytes:
    key = text.strip().encode()
    if len(key) < LEAST_KEY_LENGTH:
        raise InputError(f"the pseudonym key in {origin} has {len(key)} bytes; expected at least {LEAST_KEY_LENGTH}, "
                         f"for example from: openssl rand -hex 32")
    return key


def key_pads(key: bytes) -> tuple[bytes, bytes]:
    """The key xor 0x36… and xor 0x5c…, one block each (RFC 2104)."""
    block = (hashlib.sha256(key).digest() if len(key) > BLOCK_BYTES else key).ljust(BLOCK_BYTES, b"\0")
    return bytes(b ^ 0x36 for b in block), bytes(b ^ 0x5C for b in block)


def add_key_pads(frame: DataFrame, key: bytes) -> DataFrame:
    """`frame` with the two pads beside every row, for `pseudonym`."""
    spark: SparkSession = frame.sparkSession
    pads = spark.createDataFrame(pa.table([pa.array([pad]) for pad in key_pads(key)], names=[INNER, OUTER]))
    return frame.crossJoin(F.broadcast(pads))  # one row: no row of `frame` is lost or doubled


def pseudonym(raw_id: Column) -> Column:
    """Pseudonym of `raw_id` (UTF-8) in a frame with key pads; null for null."""
    inner = F.unhex(F.sha2(F.concat(F.col(INNER), F.encode(raw_id, "UTF-8")), 256))
    return F.substring(F.sha2(F.concat(F.col(OUTER), inner), 256), 1, 32)


def pseudonym_of(key: bytes, raw_id: str) -> str:
    """The same for one id on the driver."""
    return hmac.new(key, raw_id.encode(), hashlib.sha256).hexdigest()[:32]


def add_pseudonyms(frame: DataFrame, key: bytes, ids: Sequence[str]) -> DataFrame:
    """`frame` with each raw id column of `ids` replaced by pseudonyms; the raw ids stay in `raw_<column>`."""
    padded = add_key_pads(frame, key)
    kept = {f"raw_{name}": F.col(name) for name in ids}
    replaced = {name: pseudonym(F.col(f"raw_{name}")) for name in ids}
    return padded.withColumns(kept).withColumns(replaced).drop(INNER, OUTER)
