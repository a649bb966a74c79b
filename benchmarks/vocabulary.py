"""Time and memory of one training step against the size of the catalogue: full softmax beside sampled softmax.

    python benchmarks/vocabulary.py [--items 10000 1000000] [--negatives 0 2048]

Every measurement is a process of its own, so that its peak of memory is its own. A step is 128 examples of 12 events
in the mean through the whole trainer: forward, backward, clipping, AdamW. Processor seconds are told beside seconds:
they do not depend on what else the machine does. Result in benchmarks/results/vocabulary.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "lib")]

from benchmarks.literature.feed import MemoryFeed  # noqa: E402
from benchmarks.literature.sets import Example  # noqa: E402
from purchasepath.config import Model, Training  # noqa: E402
from purchasepath.models.build import build_model  # noqa: E402
from purchasepath.storage.files import write_json  # noqa: E402
from purchasepath.training.loop import Trainer  # noqa: E402
from purchasepath.training.ranks import SoloRanks  # noqa: E402

BATCH = 128
LENGTH = 12.0
MAX_LENGTH = 50


def main() -> None:
    options = _parse()
    if options.one:
        print(json.dumps(measure(*options.one)))
        return
    results = []
    print("| items | negatives | s per step | processor s | targets/s | peak memory |\n|---|---|---|---|---|---|")
    for items in options.items:
        for negatives in options.negatives:
            command = [sys.executable, __file__, "--one", str(items), str(negatives)]
            result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            results.append(result)
            print(f"| {items:,} | {negatives or 'all'} | {result['seconds']:.2f} | {result['processor_seconds']:.2f} "
                  f"| {result['targets'] / result['seconds']:,.0f} | {result['peak_mb']:,.0f} MB |", flush=True)
    machine = {"cpus": os.cpu_count(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    write_json(ROOT / "benchmarks" / "results" / "vocabulary.json", {"machine": machine, "results": results})


def measure(items: int, negatives: int) -> dict[str, float]:
    """Means over a few steps after a first one, which is not counted."""
    steps = 1 if items > 100_000 and not negatives else 5  # the full softmax over a million items takes its time
    torch.manual_seed(0)
    model = build_model(Model(), num_items=items + 3, num_types=2, num_features=0, max_length=MAX_LENGTH)
    feed = MemoryFeed(_examples((1 + steps) * BATCH, items), [], BATCH, seed=0)
    trainer = Trainer(model, feed, SoloRanks(), Training(ranks=1, batch_size=BATCH, negatives=negatives))
    with feed.batches("train", 0) as batches:
        number = 0
        for number, batch in enumerate(batches):
            trainer.update(batch)
            if number == 0:
                started, used = time.perf_counter(), time.process_time()
        seconds, processor = time.perf_counter() - started, time.process_time() - used
    targets = float(trainer.counts_4[0]) * number / (number + 1)
    return {
        "items": items,
        "negatives": negatives,
        "seconds": seconds / number,
        "processor_seconds": processor / number,
        "targets": targets / number,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _examples(count: int, items: int) -> list[Example]:
    """Histories over the whole catalogue; lengths geometric, at least 2."""
    generator = np.random.default_rng(0)
    lengths = np.minimum(1 + generator.geometric(1 / (LENGTH - 1), size=count), MAX_LENGTH)
    histories = [generator.integers(3, items + 3, size=length + 1) for length in lengths]
    return [Example(history[:-1], history[1:]) for history in histories]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--negatives", type=int, nargs="+", default=[0, 2048])
    parser.add_argument("--one", type=int, nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
