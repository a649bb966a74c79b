"""Tokens per second of our training loop beside a textbook SASRec loop in plain torch, on the same examples.

    python benchmarks/training.py [--rows 8192] [--batch-size 128] [--threads 1]

Both train width 64, 2 layers, 2 heads, dropout 0.1, with the full softmax over the catalogue at every event, on one
process. The textbook loop is what one finds in tutorials: examples padded to the longest length in memory, attention
and feed-forward from torch.nn, torch.optim.Adam; scores are computed for real events only, which tutorials often omit.
Ours trains the same encoder (`model.encoder: sasrec`); it reads Parquet, has a second head, and event types, times and
prices beside the items. A token is a real event.
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
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "lib")]

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from benchmarks.feeds.generated_examples import MAX_LENGTH, write_examples  # noqa: E402
from purchasepath.config import Model, Training  # noqa: E402
from purchasepath.datasets.manifest import Manifest  # noqa: E402
from purchasepath.training.device import keep_freed_memory  # noqa: E402
from purchasepath.training.feed import DatasetFeed  # noqa: E402
from purchasepath.training.loop import Trainer  # noqa: E402
from purchasepath.training.ranks import SoloRanks  # noqa: E402
from purchasepath.training.task import build_for  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "training.json"
WARM_UP = 3


class SasRec(nn.Module):
    """Causal transformer over item and position vectors; items are scored by their input vectors."""

    def __init__(self, num_items: int, width: int = 64, heads: int = 2, layers: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.item = nn.Embedding(num_items, width, padding_idx=0)
        self.position = nn.Embedding(MAX_LENGTH, width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 2 * width, dropout, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.register_buffer("causal", nn.Transformer.generate_square_subsequent_mask(MAX_LENGTH))

    def forward(self, item_BL: Tensor) -> Tensor:
        x_BLD = self.dropout(self.item(item_BL) + self.position.weight)
        for layer in self.layers:
            x_BLD = layer(x_BLD, src_mask=self.causal, is_causal=True)
        return self.norm(x_BLD)


def textbook(directory: Path, manifest: Manifest, options: argparse.Namespace) -> Iterator[int]:
    """Trains one epoch; yields the tokens of each step."""
    model = SasRec(manifest.num_items)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001, betas=(0.9, 0.98))
    item_NL, target_NL = in_memory(directory, manifest, options)
    for rows in torch.randperm(len(item_NL)).split(options.batch_size):
        item_BL, target_BL = item_NL[rows], target_NL[rows]
        real_BL = target_BL != 0
        hidden_BLD = model(item_BL)
        loss = functional.cross_entropy(hidden_BLD[real_BL] @ model.item.weight.T, target_BL[real_BL])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield int((item_BL != 0).sum())


def in_memory(directory: Path, manifest: Manifest, options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Items and targets of all examples, padded to the longest length there may be."""
    feed = DatasetFeed(directory, manifest, SoloRanks(), Training(ranks=1, batch_size=options.batch_size))
    padded: list[list[Tensor]] = [[], []]
    with feed.batches("train", 0) as batches:
        for batch in batches:
            for column, values in zip(padded, (batch.item_BL, batch.target_BL), strict=True):
                column.append(functional.pad(values, (0, MAX_LENGTH - values.shape[1])))
    return torch.cat(padded[0]), torch.cat(padded[1])


def ours(directory: Path, manifest: Manifest, options: argparse.Namespace) -> Iterator[int]:
    """Trains one epoch; yields the tokens of each step."""
    config = Training(ranks=1, batch_size=options.batch_size)
    feed = DatasetFeed(directory, manifest, SoloRanks(), config)
    trainer = Trainer(build_for(manifest, Model(encoder="sasrec")), feed, SoloRanks(), config)
    with feed.batches("train", 0) as batches:
        for batch in batches:
            trainer.update(batch)
            yield int((batch.type_BL != 0).sum())


CASES = {"ours": ours, "textbook_sasrec": textbook, "textbook_sasrec/memory_kept": textbook}
"""The last one with our setting of the memory allocator, to tell what it does from what the loop does."""


def main() -> None:
    options = arguments().parse_args()
    if options.case:
        print(json.dumps(run_here(options.case, Path(options.directory), options)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        write_examples(Path(directory), options.rows, 256).save(Path(directory))
        for case in CASES:
            command = [sys.executable, __file__, *sys.argv[1:], "--case", case, "--directory", directory]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            by_clock, by_cpu = (rows[-1][key] for key in ("value", "per_cpu_second"))
            print(f"{case:28} {by_clock:>8,} tokens/s  {by_cpu:>8,} tokens per CPU second", flush=True)
    for row in rows[1:]:
        by_clock, by_cpu = (rows[0][key] / row[key] for key in ("value", "per_cpu_second"))
        print(f"ours / {row['case']}: {by_clock:.2f} by the clock, {by_cpu:.2f} by CPU time")
    if not options.no_save:
        save(rows, options)


def run_here(case: str, directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if case != "textbook_sasrec":
        keep_freed_memory()
    return {"case": case, **measure(CASES[case](directory, Manifest.load(directory), options))}


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-save", action="store_true", help="print only")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--directory", help=argparse.SUPPRESS)
    return parser


def measure(steps: Iterator[int]) -> dict[str, Any]:
    """Tokens per second after the first few steps."""
    for _ in range(WARM_UP):
        next(steps)
    cpu, clock = time.process_time(), time.perf_counter()
    tokens = sum(steps)
    seconds, cpu_seconds = time.perf_counter() - clock, time.process_time() - cpu
    return {"value": round(tokens / seconds), "unit": "tokens/s", "per_cpu_second": round(tokens / cpu_seconds),
            "seconds": round(seconds, 2), "cpu_seconds": round(cpu_seconds, 2)}


def save(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    machine = {"cores": os.cpu_count(), "load": [round(load, 1) for load in os.getloadavg()],
               "python": platform.python_version(), "torch": torch.__version__, "system": platform.platform()}
    config = {"rows": options.rows, "batch_size": options.batch_size, "threads": options.threads}
    RESULTS.parent.mkdir(exist_ok=True)
    content = {"machine": machine, "config": config, "rows": rows}
    RESULTS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
