"""Parquet files of SESSIONS, as tasks write them: a day's, without the partition column."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from purchasepath.storage.addresses import Address
from purchasepath.storage.parquet import parquet_writer
from purchasepath.tables.catalog import SESSIONS

_ALL_DIFFERENT = ("session_id", "event_ids", "offsets_us", "arrival_lags_us")
"""Columns for which a dictionary of their values is wasted work."""


def open_writer(path: Address) -> pq.ParquetWriter:
    """A new file at `path`, in a directory that is made if need be."""
    schema = SESSIONS.file_schema()
    flat = [field.name for field in schema if not pa.types.is_list(field.type)]
    return parquet_writer(path, schema, use_dictionary=WORDS, write_statistics=flat)


def _path_in_file(field: pa.Field) -> str:
    return f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name


WORDS = [_path_in_file(field) for field in SESSIONS.file_schema() if field.name not in _ALL_DIFFERENT]
"""Columns whose values repeat, as Parquet names them."""
