"""Stock Petastorm on lists padded to equal length: `make_batch_reader` and `BatchedDataLoader` with a shuffling queue.

    <python of an environment with petastorm and torch> stock_petastorm.py <directory> '{"columns": ["item"], …}'

Reads one epoch on `workers` threads and one thread of torch. Nothing of ours is imported: this runs in an environment
of its own. Prints one JSON object: sequences, tokens, seconds, CPU seconds, memory, and the versions of what ran.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch
from petastorm import make_batch_reader
from petastorm.pytorch import BatchedDataLoader

PACKAGES = ("petastorm", "pyarrow", "numpy", "pandas", "torch")


def main(directory: Path, settings: dict[str, Any]) -> None:
    warnings.simplefilter("ignore")  # of pyarrow, about the classes that Petastorm uses
    torch.set_num_threads(1)
    sequences = tokens = 0
    cpu, clock = time.process_time(), time.perf_counter()
    reader = make_batch_reader(
        directory.as_uri(), schema_fields=[f"^{name}$" for name in settings["columns"]],
        workers_count=settings["workers"], shuffle_row_groups=True, seed=0,
    )
    capacity = 8 * settings["batch_size"]
    with BatchedDataLoader(reader, settings["batch_size"], shuffling_queue_capacity=capacity) as batches:
        for batch in batches:
            sequences += len(batch["type"])
            tokens += int((batch["type"] != 0).sum())
    print(json.dumps({
        "sequences": sequences, "tokens": tokens, "seconds": time.perf_counter() - clock,
        "cpu_seconds": time.process_time() - cpu, "memory_mb": [round(psutil.Process().memory_info().rss / 1e6)],
        "versions": {name: version(name) for name in PACKAGES},
    }))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), json.loads(sys.argv[2]))
