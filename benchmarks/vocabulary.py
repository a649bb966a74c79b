"""Time, memory and bytes exchanged of one training step against the size of the catalogue.

    python benchmarks/vocabulary.py [--items 10000 1000000] [--negatives 0 2048]

Full softmax beside sampled softmax; for the sampled one also two Horovod ranks with half of the batch each, which
exchange the gradients of all rows of the item table, or of those alone that the step touches.

Every measurement is a process of its own, so that its peak of memory is its own. A step is 128 examples of 12 events
in the mean through the whole trainer: forward, backward, exchange, clipping, AdamW; one thread per rank. Processor
seconds of all ranks are told beside seconds: they do not depend on what else the machine does. Result in
benchmarks/results/vocabulary.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "lib")]

from benchmarks.literature.feed import MemoryFeed  # noqa: E402
from benchmarks.literature.sets import Example  # noqa: E402
from purchasepath.config import Model, Training, load_config  # noqa: E402
from purchasepath.models.build import build_model  # noqa: E402
from purchasepath.storage.files import write_json  # noqa: E402
from purchasepath.storage.session import build_session  # noqa: E402
from purchasepath.training.launch import run_on_ranks  # noqa: E402
from purchasepath.training.loop import Trainer, with_next  # noqa: E402
from purchasepath.training.ranks import Ranks  # noqa: E402

BATCH = 128
LENGTH = 12.0
MAX_LENGTH = 50


def main() -> None:
    options = _parse()
    results = []
    print("| items | negatives | ranks | exchanged rows | s per step | of it exchange | processor s | sent per rank | "
          "peak memory per rank |\n|---|---|---|---|---|---|---|---|---|")
    for items in options.items:
        for negatives in options.negatives:
            for ranks, rows in ((1, "-"), *(((2, "all"), (2, "touched")) if negatives else ())):
                found = _measure_apart({"items": items, "negatives": negatives, "ranks": ranks, "rows": rows})
                results.append(found)
                print(f"| {items:,} | {negatives or 'all'} | {ranks} | {rows} | {found['seconds']:.2f} "
                      f"| {found['exchange_seconds']:.2f} | {found['processor_seconds']:.2f} "
                      f"| {found['sent_mb']:,.1f} MB | {found['peak_mb']:,.0f} MB |", flush=True)
    machine = {"cpus": os.cpu_count(), "threads": 1, "torch": torch.__version__}
    write_json(ROOT / "benchmarks" / "results" / "vocabulary.json", {"machine": machine, "results": results})


def _measure_apart(case: dict[str, object]) -> dict[str, float]:
    """In a process of its own; its ranks find this file as a module."""
    with tempfile.TemporaryDirectory() as directory:
        request = json.dumps({**case, "result": f"{directory}/result.json"})
        places = os.pathsep.join((str(ROOT), str(ROOT / "lib")))
        subprocess.run(
            [sys.executable, "-c", f"from benchmarks.vocabulary import launch; launch({request!r})"], check=True,
            env={**os.environ, "PYTHONPATH": places, "PYSPARK_PYTHON": sys.executable}, stderr=subprocess.DEVNULL,
        )
        return {**case, **json.loads(Path(directory, "result.json").read_text(encoding="utf-8"))}


def launch(request: str) -> None:
    """Measures one case on its ranks."""
    config = load_config([], [f"training.ranks={json.loads(request)['ranks']}"])
    run_on_ranks(measure, request, spark=lambda: build_session("vocabulary", config, master="local[2]"),
                 config=config.training)


def measure(ranks: Ranks, request: str) -> None:
    """Means over a few steps after a first one, which is not counted; rank 0 leaves them in a file."""
    case = json.loads(request)
    items, negatives = case["items"], case["negatives"]
    steps = 1 if items > 100_000 and not negatives else 8  # the full softmax over a million items takes its time
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = build_model(Model(tasks=("item",)), num_items=items + 3, num_types=2, num_features=0, max_length=MAX_LENGTH)
    share = _examples((1 + steps) * BATCH, items)[ranks.rank :: ranks.size]
    feed = MemoryFeed(share, [], BATCH // ranks.size, seed=0)
    counted = CountedRanks(ranks)
    trainer = Trainer(model, feed, counted, Training(ranks=ranks.size, batch_size=BATCH, negatives=negatives))
    trainer.exchange.by_rows &= case["rows"] == "touched"
    with feed.batches("train", 0) as batches:
        for number, (batch, following) in enumerate(with_next(batches)):
            if number == 1:
                ranks.barrier()
                counted.bytes, counted.seconds = 0, 0.0
                started, used = time.perf_counter(), time.process_time()
            trainer.update(batch, following)
    seconds, processor = time.perf_counter() - started, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    processor, peaks = ranks.sum_(torch.tensor([processor, peak], dtype=torch.float64)).tolist()
    if ranks.rank == 0:
        write_json(Path(case["result"]), {
            "seconds": seconds / steps, "processor_seconds": processor / steps,
            "exchange_seconds": counted.seconds / steps, "sent_mb": counted.bytes / steps / 1e6,
            "peak_mb": peaks / ranks.size,
        })


class CountedRanks:
    """Ranks that note how many bytes a rank gives to collectives, and how long it waits in them."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks, self.bytes, self.seconds = ranks, 0, 0.0
        self.rank, self.size = ranks.rank, ranks.size
        self.local_rank, self.local_size = ranks.local_rank, ranks.local_size

    def sum_(self, tensor: Tensor) -> Tensor:
        with self._noting(tensor):
            return self.ranks.sum_(tensor)

    def gather(self, tensor: Tensor) -> Tensor:
        with self._noting(tensor):
            return self.ranks.gather(tensor)

    @contextmanager
    def _noting(self, tensor: Tensor) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - started
        self.bytes += tensor.nbytes if self.size > 1 else 0


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
    return parser.parse_args()


if __name__ == "__main__":
    main()
