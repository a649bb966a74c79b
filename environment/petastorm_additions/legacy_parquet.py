"""What Petastorm 0.12 uses of pyarrow's legacy data sets, on top of today's pyarrow.

pyarrow 15 removed them: data sets cut into pieces that can be read by row group, with the numbered values of Hive
partition directories. Set-up adds this module to the Petastorm wheel as `petastorm.legacy_parquet`, which Petastorm's
files then import in place of `pyarrow.parquet`; names and results are those of pyarrow 14.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
from fsspec.implementations.arrow import ArrowFSWrapper
from pyarrow import fs as arrow_fs
from pyarrow.parquet import FileMetaData, ParquetFile, read_metadata

__all__ = ["ParquetDataset", "ParquetDatasetPiece", "ParquetFile", "read_metadata"]

PartitionKey = tuple[str, int]
"""Name of a partition column, and the number of its value among the values of that column."""
Filter = tuple[str, str, Any]

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge, "in": lambda value, allowed: value in allowed,
    "not in": lambda value, forbidden: value not in forbidden,
}


class ParquetDataset:
    """The Parquet files of a directory (Hive partitions included), of one path, or of a list of paths.

    `pieces` has one piece per file, in the order of paths; `partitions` is None where files were named. `metadata` and
    `common_metadata` are those of the directory's `_metadata` and `_common_metadata`. `filters` (a list of conditions
    that all hold, or a list of such lists of which one holds) choose among partitions; conditions on other columns
    choose nothing. `validate_schema` and `metadata_nthreads` are what Petastorm passes: schemas are not compared.
    """

    def __init__(
        self, path_or_paths: str | list[str], filesystem: Any = None, validate_schema: bool = False,
        metadata_nthreads: int = 1, filters: Sequence[Any] | None = None,
    ) -> None:
        if validate_schema:
            raise NotImplementedError("schemas of a data set's files are not compared; pass validate_schema=False")
        self.paths, self.fs = path_or_paths, _as_fsspec(filesystem)
        self.partitions: ParquetPartitions | None = None
        self.metadata_path: str | None = None
        self.common_metadata_path: str | None = None
        if isinstance(path_or_paths, list) and len(path_or_paths) == 1:
            path_or_paths = path_or_paths[0]
        if isinstance(path_or_paths, str) and self.fs.isdir(path_or_paths):
            self.partitions = ParquetPartitions()
            self.pieces = sorted(self._pieces_below(path_or_paths, []), key=lambda piece: piece.path)
        else:
            paths = [path_or_paths] if isinstance(path_or_paths, str) else path_or_paths
            missing = [path for path in paths if not self.fs.isfile(path)]
            if missing or not paths:
                raise OSError(f"expected Parquet files or a directory of them, found none at {missing or 'no path'}")
            self.pieces = [ParquetDatasetPiece(path, self.fs.open) for path in paths]
        if self.common_metadata_path is None:
            self.common_metadata_path = self.metadata_path  # which holds all that the other one does
        self.common_metadata = self._read_metadata(self.common_metadata_path)
        self.metadata = self._read_metadata(self.metadata_path)
        if filters is not None:
            self.pieces = [piece for piece in self.pieces if self._is_chosen(piece, filters)]

    def _pieces_below(self, directory: str, keys: list[PartitionKey]) -> Iterator[ParquetDatasetPiece]:
        """Pieces of a directory at the depth of `keys`; takes note of partitions and metadata files on its way."""
        assert self.partitions is not None
        _, directories, names = next(iter(self.fs.walk(directory)), (directory, [], []))
        files = []
        for name in sorted(names):
            path = f"{directory}/{name}"
            if name == "_common_metadata":
                self.common_metadata_path = path
            elif name == "_metadata":
                self.metadata_path = path
            elif not name.startswith((".", "_")) and not name.endswith((".crc", "_$folder$")):
                files.append(path)
        partitions = sorted(name for name in directories if "=" in name or not name.startswith((".", "_")))
        if files and partitions:
            raise ValueError(f"expected files or partitions, found both in {directory}")
        for path in files:
            yield ParquetDatasetPiece(path, self.fs.open, partition_keys=keys)
        for name in partitions:
            column, equals, value = name.partition("=")
            if not equals:
                raise ValueError(f"expected directories named column=value in {directory}, found {name}")
            key = (column, self.partitions.get_index(len(keys), column, value))
            yield from self._pieces_below(f"{directory}/{name}", [*keys, key])

    def _read_metadata(self, path: str | None) -> FileMetaData | None:
        if path is None:
            return None
        with self.fs.open(path, "rb") as file:
            return read_metadata(file)

    def _is_chosen(self, piece: ParquetDatasetPiece, filters: Sequence[Any]) -> bool:
        alternatives = [filters] if all(isinstance(part, tuple) for part in filters) else filters
        return any(all(self._holds(piece, condition) for condition in each) for each in alternatives)

    def _holds(self, piece: ParquetDatasetPiece, condition: Filter) -> bool:
        column, comparison, wanted = condition
        if comparison not in COMPARISONS:
            raise ValueError(f"expected one of {', '.join(COMPARISONS)} in filter {condition}")
        values = {name: self.partitions[level].dictionary[index].as_py()  # type: ignore[index]
                  for level, (name, index) in enumerate(piece.partition_keys)}
        if column not in values:
            return True
        kind = type(next(iter(wanted))) if comparison in ("in", "not in") else type(wanted)
        return COMPARISONS[comparison](kind(values[column]), wanted)


class ParquetDatasetPiece:
    """A file of a data set, or one row group of it."""

    def __init__(
        self, path: str, open_file_func: Callable[..., Any] = open, row_group: int | None = None,
        partition_keys: Iterable[PartitionKey] = (),
    ) -> None:
        self.path, self.open_file_func = path, open_file_func
        self.row_group, self.partition_keys = row_group, list(partition_keys)

    def get_metadata(self) -> FileMetaData:
        with self.open_file_func(self.path, "rb") as source:
            return read_metadata(source)

    def read(self, columns: Iterable[str] | None = None, partitions: ParquetPartitions | None = None) -> pa.Table:
        """The piece's rows; a column of dictionary type per partition column follows those of the file."""
        wanted = None if columns is None else list(columns)
        with self.open_file_func(self.path, "rb") as source:
            file = ParquetFile(source)
            table = file.read(wanted) if self.row_group is None else file.read_row_group(self.row_group, wanted)
        for level, (name, index) in enumerate(self.partition_keys):
            if partitions is None:
                raise ValueError(f"{self.path} is in a partition; reading it takes the data set's partitions")
            codes = pa.array(np.full(table.num_rows, index, np.int32))
            table = table.append_column(name, pa.DictionaryArray.from_arrays(codes, partitions[level].dictionary))
        return table


class ParquetPartitions:
    """The partition columns of a data set, from the outermost directory inwards; false where there are none."""

    def __init__(self) -> None:
        self.levels: list[PartitionSet] = []

    @property
    def partition_names(self) -> set[str]:
        return {level.name for level in self.levels}

    def __len__(self) -> int:
        return len(self.levels)

    def __getitem__(self, level: int) -> PartitionSet:
        return self.levels[level]

    def get_index(self, level: int, name: str, key: str) -> int:
        """The number of the value `key` of partition column `name`, which gets the next one where it is new."""
        if level == len(self.levels):
            if name in self.partition_names:
                raise ValueError(f"{name} is the partition column of two levels of directories")
            self.levels.append(PartitionSet(name))
        keys = self.levels[level].keys
        if key not in keys:
            keys.append(key)
        return keys.index(key)


class PartitionSet:
    """The values of one partition column."""

    def __init__(self, name: str) -> None:
        self.name, self.keys = name, list[str]()

    @property
    def dictionary(self) -> pa.Array:
        """The values by number: int64 where all are whole numbers, else text."""
        try:
            return pa.array([int(key) for key in self.keys], pa.int64())
        except ValueError:
            return pa.array(self.keys, pa.string())


def _as_fsspec(filesystem: Any) -> Any:
    """The file system that fsspec knows, for one of pyarrow's; the local one for none."""
    if isinstance(filesystem, arrow_fs.FileSystem):
        return ArrowFSWrapper(filesystem)
    return filesystem or fsspec.filesystem("file")
