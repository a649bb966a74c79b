"""What a commit wrote, file by file: so that what is missing, foreign or damaged is never taken for the table.

`_files.json` beside the files of a version of a table names every one with its size, rows and digests; engines that
read the directory pass over names that begin with `_`. Digests are CRC-32: damage is found, at 2.7 GB per second and
core (sha256: 1.5); it is no protection against who wants to deceive.

Checked when a table is opened: that exactly these files are there, in size and in their ends, which hold Parquet's
footers and which no page checksum covers; in tables of up to WHOLE_BYTES the whole contents. Larger tables' pages are
verified by whoever reads them (`parquet.py`), and the whole contents by `doctor --warehouse`.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from purchasepath.errors import DamagedWarehouseError
from purchasepath.storage.files import write_text
from purchasepath.storage.parquet import read_footer

FILE_NAME = "_files.json"
WHOLE_BYTES = 64_000_000
_END_BYTES = 65_536
"""Longer footers are read whole."""
_AT_ONCE = 1 << 20
_THREADS = 4


@dataclass(frozen=True)
class FileFacts:
    """A file as it was written. `end` is the digest of its last bytes; `rows` are None of what is no Parquet.

    Of a file that Python does not open, `digest` is its file system's own checksum, and '' is what is not known.
    """

    bytes: int
    rows: int | None
    digest: str
    end: str


Contents = Mapping[str, FileFacts]
"""Path below the table's directory → the file."""


def list_files(directory: Path) -> Iterator[Path]:
    """Files that an engine takes for the table's: hidden ones and those of `_…` directories are not."""
    for place, directories, names in os.walk(directory):
        directories[:] = [name for name in directories if not name.startswith(("_", "."))]
        yield from (Path(place, name) for name in names if not name.startswith(("_", ".")))


def describe(directory: Path, known: Contents | None = None, known_at: Path | None = None) -> dict[str, FileFacts]:
    """Every file of a directory. `known` files of the directory `known_at` that have a second name here are not read
    again: what was written stays the measure, even where one was damaged since."""
    def facts(file: Path) -> tuple[str, FileFacts]:
        name = str(file.relative_to(directory))
        if known and known_at and name in known and _same_file(file, known_at / name):
            return name, known[name]
        return name, facts_of(file)

    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(sorted(pool.map(facts, list_files(directory))))


def facts_of(file: Path) -> FileFacts:
    """The file as it is now."""
    size, end, is_parquet = _read_end(file)
    return FileFacts(size, read_footer(file).num_rows if is_parquet else None, digest_of(file), end)


def digest_of(file: Path) -> str:
    """CRC-32 of a file's bytes, as eight hexadecimal digits."""
    checksum, buffer = 0, bytearray(_AT_ONCE)
    view = memoryview(buffer)
    with file.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            checksum = zlib.crc32(view[:count], checksum)
    return f"{checksum:08x}"


def digest_of_text(text: str) -> str:
    """CRC-32 of a text, as eight hexadecimal digits."""
    return f"{zlib.crc32(text.encode()):08x}"


def write_contents(directory: Path, contents: Contents) -> str:
    """Put the list beside the files; its digest."""
    text = json.dumps({name: asdict(facts) for name, facts in contents.items()}, indent=0, sort_keys=True) + "\n"
    write_text(directory / FILE_NAME, text)
    return digest_of_text(text)


def read_contents(directory: Path, digest: str) -> dict[str, FileFacts]:
    """The list that `write_contents` left. Raises DamagedWarehouseError where it is gone or is another one."""
    file = directory / FILE_NAME
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as failure:
        raise DamagedWarehouseError([f"{file}: the list of the table's files cannot be read ({failure})"]) from None
    if digest_of_text(text) != digest:
        raise DamagedWarehouseError([f"{file}: the list of the table's files is not the one that was committed"])
    return {name: FileFacts(**facts) for name, facts in json.loads(text).items()}


def faults_in(directory: Path, contents: Contents, *, whole: bool | None = None) -> list[str]:
    """What is not as committed, a line per file. `whole`: read everything; by default where that is little."""
    if whole is None:
        whole = sum(facts.bytes for facts in contents.values()) <= WHOLE_BYTES
    here = {str(file.relative_to(directory)) for file in list_files(directory)}
    stray = [f"{directory / name}: no commit wrote this file; move it away" for name in sorted(here - contents.keys())]

    def fault(item: tuple[str, FileFacts]) -> str | None:
        return _fault(directory / item[0], item[1], whole=bool(whole))

    with ThreadPoolExecutor(_THREADS) as pool:
        return [*filter(None, pool.map(fault, contents.items())), *stray]


def _fault(file: Path, expected: FileFacts, *, whole: bool) -> str | None:
    try:
        size, end, _ = _read_end(file)
        if size != expected.bytes:
            return f"{file}: has {size:,} bytes, {expected.bytes:,} were written"
        if end != expected.end or (whole and digest_of(file) != expected.digest):
            return f"{file}: its content is not what was written (its digest differs)"
    except FileNotFoundError:
        return f"{file}: is missing ({expected.rows or 0:,} rows)"
    except OSError as failure:
        return f"{file}: cannot be read ({failure})"
    return None


def _read_end(file: Path) -> tuple[int, str, bool]:
    """Size, digest of the last bytes (at least the whole footer), and whether they are Parquet's."""
    with file.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - _END_BYTES))
        end = stream.read()
        is_parquet = size > 8 and end[-4:] == b"PAR1"
        footer = int.from_bytes(end[-8:-4], "little") + 8 if is_parquet else 0
        if len(end) < footer <= size:
            stream.seek(size - footer)
            end = stream.read()
    return size, f"{zlib.crc32(end):08x}", is_parquet


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except FileNotFoundError:
        return False
