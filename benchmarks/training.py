"""Tokens per second of our training loop beside others' SASRec loops, on the same examples, in one run.

    python benchmarks/training.py [--rows 4096] [--batch-size 128] [--threads 1] [--peer-python <python>]

All train SASRec of width 64 (inner width, too), 2 layers, 2 heads, dropout 0.1, on examples of at most 50 events, with
the full softmax over the catalogue at every event, in one process with that many threads: first an epoch that does not
count, then the one that does. A token is a real event.

    ours              our loop with `model.encoder: sasrec`, next item alone; it reads Parquet, and has event types,
                      times and prices beside the items
    textbook_sasrec   what one finds in tutorials: examples in memory, padded to the longest length, layers from
                      torch.nn, torch.optim.Adam; scores of real events only, which tutorials often omit
    rectools_sasrec   RecTools' SASRec in its own loop (`peers/rectools_sasrec.py`), in an environment of its own, as
                      its pins are not ours:  pip install torch==2.13.0 'rectools[torch]==0.19.0'
    …/memory_kept     the same with our setting of the memory allocator, which anybody can have
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "lib")]

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from benchmarks.feeds.generated_examples import MAX_LENGTH, write_examples  # noqa: E402
from purchasepath.config import Model, Training  # noqa: E402
from purchasepath.datasets.manifest import FIRST_ITEM, Manifest  # noqa: E402
from purchasepath.training.device import keep_freed_memory  # noqa: E402
from purchasepath.training.feed import DatasetFeed  # noqa: E402
from purchasepath.training.loop import Trainer  # noqa: E402
from purchasepath.training.rank_main import build_for  # noqa: E402
from purchasepath.training.ranks import SoloRanks  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "training.json"
PEER = Path(__file__).parent / "peers" / "rectools_sasrec.py"
SHAPE = {"width": 64, "layers": 2, "heads": 2, "dropout": 0.1}
EPOCHS = 2
KEPT = "/memory_kept"
KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(1 << 30), "MALLOC_MMAP_THRESHOLD_": str(1 << 30)}
"""`keep_freed_memory`, for a process that does not call it."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch took."""

    seconds: float
    cpu_seconds: float
    loss: float
    """mean over its targets"""


class SasRec(nn.Module):
    """Causal transformer over item and position vectors; items are scored by their input vectors."""

    def __init__(self, num_items: int, width: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.item = nn.Embedding(num_items, width, padding_idx=0)
        self.position = nn.Embedding(MAX_LENGTH, width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, width, dropout, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.register_buffer("causal", nn.Transformer.generate_square_subsequent_mask(MAX_LENGTH))
        nn.init.normal_(self.item.weight, std=0.02)  # torch's own scale makes scores, and the first loss, far too large

    def forward(self, item_BL: Tensor) -> Tensor:
        x_BLD = self.dropout(self.item(item_BL) + self.position.weight)
        for layer in self.layers:
            x_BLD = layer(x_BLD, src_mask=self.causal, is_causal=True)
        return self.norm(x_BLD)


def ours(directory: Path, manifest: Manifest, options: argparse.Namespace) -> Iterator[float]:
    """Trains an epoch before each value, which is its mean loss."""
    config = Training(ranks=1, epochs=EPOCHS, batch_size=options.batch_size)
    model = build_for(manifest, Model(encoder="sasrec", tasks=("item",), feed_forward=1.0, **SHAPE))
    feed = DatasetFeed(directory, manifest, SoloRanks(), config)
    trainer = Trainer(model, feed, SoloRanks(), config)
    for epoch in range(EPOCHS):
        loss, targets = trainer.losses_Q[0].item(), trainer.counts[0].item()
        with feed.batches("train", epoch) as batches:
            for batch in batches:
                trainer.update(batch)
        yield (trainer.losses_Q[0].item() - loss) / (trainer.counts[0].item() - targets)


def textbook(directory: Path, manifest: Manifest, options: argparse.Namespace) -> Iterator[float]:
    """Trains an epoch before each value, which is its mean loss."""
    model = SasRec(manifest.num_items, **SHAPE)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001, betas=(0.9, 0.98))
    sequences = sequences_of(directory, manifest)
    item_NL, target_NL = padded([s[:-1] for s in sequences]), padded([s[1:] for s in sequences])
    for _ in range(EPOCHS):
        total = 0.0
        for rows in torch.randperm(len(item_NL)).split(options.batch_size):
            item_BL, target_BL = item_NL[rows], target_NL[rows]
            real_BL = target_BL != 0
            hidden_BLD = model(item_BL)
            loss = functional.cross_entropy(hidden_BLD[real_BL] @ model.item.weight.T, target_BL[real_BL])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * int(real_BL.sum())
        yield total / int((target_NL != 0).sum())


CASES = {"ours": ours, "textbook_sasrec": textbook}


def main() -> None:
    options = arguments().parse_args()
    if options.case:
        epochs = [vars(epoch) for epoch in run_here(options.case, Path(options.directory), options)]
        print(json.dumps({"epochs": epochs, "versions": {"torch": torch.__version__}}))
        return
    with tempfile.TemporaryDirectory() as directory:
        rows = list(measure(Path(directory), options))
    for row in rows[1:]:
        by_clock, by_cpu = (rows[0][key] / row[key] for key in ("value", "per_cpu_second"))
        print(f"ours / {row['case']}: {by_clock:.2f} by the clock, {by_cpu:.2f} by CPU time")
    if not options.no_save:
        save(rows, options)


def measure(directory: Path, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row per case, each from a process of its own."""
    manifest = write_seen_items(directory, options.rows)
    manifest.save(directory)
    sequences = sequences_of(directory, manifest)
    write_events(directory / "events.csv", sequences)
    tokens = sum(len(sequence) - 1 for sequence in sequences)
    mine = [sys.executable, __file__, *sys.argv[1:], "--directory", str(directory), "--case"]
    commands = {case: [*mine, case] for case in ("ours", "textbook_sasrec", "textbook_sasrec" + KEPT)}
    if options.peer_python:
        settings = {**SHAPE, "max_length": MAX_LENGTH, "batch_size": options.batch_size, "learning_rate": 0.001,
                    "epochs": EPOCHS, "threads": options.threads}
        peer = [options.peer_python, str(PEER), str(directory / "events.csv"), json.dumps(settings)]
        commands |= {"rectools_sasrec": peer, "rectools_sasrec" + KEPT: peer}
    for case, command in commands.items():
        environment = os.environ | (KEEP_MEMORY if case.endswith(KEPT) else {})
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=environment, cwd=directory)
        told = json.loads(done.stdout.splitlines()[-1])
        epoch = Epoch(**told["epochs"][-1])
        yield (row := {**as_row(case, epoch, tokens), "versions": told["versions"]})
        print(f"{case:28} {row['value']:>8,} tokens/s  {row['per_cpu_second']:>8,} tokens per CPU second  "
              f"{epoch.seconds:7.1f} s and {epoch.cpu_seconds:7.1f} CPU s an epoch  loss {epoch.loss:.3f}", flush=True)


def as_row(case: str, epoch: Epoch, tokens: int) -> dict[str, Any]:
    return {"case": case, "value": round(tokens / epoch.seconds), "unit": "tokens/s",
            "per_cpu_second": round(tokens / epoch.cpu_seconds), "seconds": round(epoch.seconds, 2),
            "cpu_seconds": round(epoch.cpu_seconds, 2), "loss": round(epoch.loss, 4)}


def run_here(case: str, directory: Path, options: argparse.Namespace) -> Iterator[Epoch]:
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if case == "ours":
        keep_freed_memory()
    losses = CASES[case.removesuffix(KEPT)](directory, Manifest.load(directory), options)
    for _ in range(EPOCHS):
        clock, cpu = time.perf_counter(), time.process_time()
        loss = next(losses)
        yield Epoch(time.perf_counter() - clock, time.process_time() - cpu, loss)


def write_seen_items(directory: Path, rows: int) -> Manifest:
    """Generated examples whose items are numbered anew, so that every item of the catalogue occurs.

    A library that takes its catalogue from the events then ranks as many items as we do.
    """
    manifest = write_examples(directory, rows, 256)
    files = sorted({group.file for group in manifest.splits["train"]})
    tables = [pq.read_table(directory / file) for file in files]
    seen = np.unique(np.concatenate([flat(table, "item") for table in tables]))
    for file, table in zip(files, tables, strict=True):
        for name in ("item", "target"):
            lists = table[name].combine_chunks()
            number = (np.searchsorted(seen, lists.values.to_numpy()) + FIRST_ITEM).astype(np.int32)
            renumbered = pa.ListArray.from_arrays(lists.offsets, pa.array(number))
            table = table.set_column(table.schema.get_field_index(name), name, renumbered)
        pq.write_table(table, directory / file, row_group_size=256)
    return replace(manifest, num_items=FIRST_ITEM + len(seen))


def sequences_of(directory: Path, manifest: Manifest) -> list[np.ndarray]:
    """Each example's items and the last one's target: what is shifted by one gives items and targets."""
    sequences = []
    for file in sorted({group.file for group in manifest.splits["train"]}):
        table = pq.read_table(directory / file, columns=["item", "target"])
        ends = table["item"].combine_chunks().offsets.to_numpy()[1:]
        items = np.split(flat(table, "item"), ends[:-1])
        sequences += [np.append(i, last) for i, last in zip(items, flat(table, "target")[ends - 1], strict=True)]
    return sequences


def flat(table: pa.Table, column: str) -> np.ndarray:
    return table[column].combine_chunks().values.to_numpy()


def padded(sequences: list[np.ndarray]) -> Tensor:
    rows = [torch.from_numpy(sequence.astype(np.int64)) for sequence in sequences]
    return nn.utils.rnn.pad_sequence([torch.zeros(MAX_LENGTH, dtype=torch.int64), *rows], batch_first=True)[1:]


def write_events(file: Path, sequences: list[np.ndarray]) -> None:
    """A line `user,item` per event."""
    users = np.repeat(np.arange(len(sequences)), [len(sequence) for sequence in sequences])
    np.savetxt(file, np.stack((users, np.concatenate(sequences)), axis=1), "%d", ",", header="user,item", comments="")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peer-python", help="python of an environment with rectools[torch]; not compared without it")
    parser.add_argument("--no-save", action="store_true", help="print only")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--directory", help=argparse.SUPPRESS)
    return parser


def save(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    machine = {"cores": os.cpu_count(), "load": [round(load, 1) for load in os.getloadavg()],
               "python": platform.python_version(), "torch": torch.__version__, "system": platform.platform()}
    config = {"rows": options.rows, "batch_size": options.batch_size, "threads": options.threads}
    RESULTS.parent.mkdir(exist_ok=True)
    content = {"machine": machine, "config": config, "rows": rows}
    RESULTS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
