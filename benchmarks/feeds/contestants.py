"""Ways to read one epoch of the generated examples; each yields (sequences, tokens) batch by batch.

`ours` and `pyarrow` shuffle and deliver tensors, `ours` of all columns of EXAMPLES: packed, as the training loop takes
them (it pads the parts it cuts a step into); `ours padded` pads each batch as a whole. `decode` only decodes Parquet
into Arrow on one thread, several row groups a call: nobody can be faster per core. Stock Petastorm, whose pins are not
ours, runs elsewhere (`peers/stock_petastorm.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from purchasepath.datasets.batch import batch_from_rows
from purchasepath.datasets.manifest import Manifest
from purchasepath.datasets.reader import ExampleReader
from purchasepath.datasets.rows import Rows
from purchasepath.datasets.shards import GROUPS_PER_BLOCK

Counts = Iterator[tuple[int, int]]


def ours(directory: Path, manifest: Manifest, columns: Sequence[str], batch_size: int, epoch: int) -> Counts:
    """The reader of a training rank."""
    for rows in _read(directory, manifest, batch_size, epoch):
        packed = [torch.from_numpy(getattr(rows, field.name)) for field in fields(rows)]
        yield len(packed[0]), rows.events


def ours_padded(directory: Path, manifest: Manifest, columns: Sequence[str], batch_size: int, epoch: int) -> Counts:
    """The same, with every batch padded to its longest example."""
    for rows in _read(directory, manifest, batch_size, epoch):
        yield batch_from_rows(rows).rows, rows.events


def _read(directory: Path, manifest: Manifest, batch_size: int, epoch: int) -> Iterator[Rows]:
    with ExampleReader(manifest, directory, "train", rank=0, num_ranks=1, lanes=8, batch_size=batch_size, seed=1,
                       epoch=epoch) as batches:
        yield from batches


def pyarrow(directory: Path, manifest: Manifest, columns: Sequence[str], batch_size: int, epoch: int) -> Counts:
    """The loop one writes by hand: a row group, its rows in random order, lists padded by `pad_sequence`."""
    generator = np.random.default_rng(epoch)
    for path, group in _row_groups(manifest, directory, generator):
        table = path.read_row_group(group, columns=list(columns))
        table = table.take(generator.permutation(table.num_rows))
        for start in range(0, table.num_rows, batch_size):
            batch = {
                name: torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in values], batch_first=True)
                for name, values in table.slice(start, batch_size).to_pydict().items()
            }
            yield len(batch["type"]), int((batch["type"] != 0).sum())


def decode(directory: Path, manifest: Manifest, columns: Sequence[str], batch_size: int, epoch: int) -> Counts:
    """Parquet into Arrow and nothing else."""
    for path, groups in groupby(_row_groups(manifest, directory), key=itemgetter(0)):
        numbers = [number for _, number in groups]
        for start in range(0, len(numbers), GROUPS_PER_BLOCK):
            wanted = numbers[start:start + GROUPS_PER_BLOCK]
            table = path.read_row_groups(wanted, columns=list(columns), use_threads=False)
            yield table.num_rows, sum(len(chunk.values) for chunk in table["type"].chunks)


CONTESTANTS: dict[str, Callable[[Path, Manifest, Sequence[str], int, int], Counts]] = {
    "ours": ours, "ours padded": ours_padded, "pyarrow": pyarrow, "decode": decode,
}


def _row_groups(
    manifest: Manifest, directory: Path, generator: np.random.Generator | None = None
) -> Iterator[tuple[pq.ParquetFile, int]]:
    groups = manifest.splits["train"]
    order = np.arange(len(groups)) if generator is None else generator.permutation(len(groups))
    files = {name: pq.ParquetFile(directory / name) for name in {group.file for group in groups}}
    for number in order:
        yield files[groups[number].file], groups[number].row_group
