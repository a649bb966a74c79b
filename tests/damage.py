"""Damage done to stored files, for tests of what finds it."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq


def flip_bit_in_page(file: Path, column: int = 0, *, dictionary: bool = False) -> None:
    """Changes one bit of the content of a column's last data page in the first row group, or of its dictionary."""
    footer = pq.read_metadata(file)
    chunk = footer.row_group(0).column(column)
    start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
    flip_bit(file, (chunk.data_page_offset if dictionary else start + chunk.total_compressed_size) - 2)


def flip_bit(file: Path, place: int, bit: int = 2) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1 << bit
    file.write_bytes(content)
