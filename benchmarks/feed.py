"""Sequences per second of our reader beside stock Petastorm, a plain pyarrow loop and Parquet decoding alone.

    python benchmarks/feed.py [--rows 100000] [--batch-size 256] [--epochs 10] [--pyarrow-files]
                              [--stock-python <python>]

All read the same generated examples (at most 50 events, mean 12), each in a process of its own with one thread for
torch. Stock Petastorm runs beside the pyarrow, NumPy and pandas it was released for, in an environment made once in
the user's cache (Python 3.11). `examples/…` reads the columns of EXAMPLES that make a batch, `three lists/…` only
item, type and gap. Machines are rarely idle: beside the wall clock's rate stands the one per second of CPU time. Ours
runs `--epochs` times and tells its memory after each; decoding runs five times.
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
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "lib")]

import psutil  # noqa: E402
import torch  # noqa: E402

from benchmarks.feeds.contestants import CONTESTANTS  # noqa: E402
from benchmarks.feeds.generated_examples import THREE_LISTS, write_examples  # noqa: E402
from benchmarks.peers.environments import PeerEnvironment, ask_peer, peer_python  # noqa: E402
from purchasepath.datasets.manifest import Manifest  # noqa: E402
from purchasepath.datasets.reader import WORKERS  # noqa: E402
from purchasepath.datasets.rows import COLUMNS  # noqa: E402
from purchasepath.errors import UserError  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "feed.json"
LAYOUTS = {"examples": COLUMNS, "three lists": THREE_LISTS}
OURS = ("examples/ours", "examples/ours padded")
CASES = (*OURS, "examples/petastorm", "examples/pyarrow", "examples/decode",
         "three lists/petastorm", "three lists/pyarrow", "three lists/decode")
STOCK = "/petastorm"
STOCK_PETASTORM = PeerEnvironment("petastorm", "3.11", (
    ("torch==2.13.0",),  # alone: beside other pins pip may choose the build with gigabytes of CUDA
    ("petastorm==0.12.1", "pyarrow==14.0.2", "numpy==1.26.4", "pandas==2.2.3", "pyspark==4.0.5"),
))
PEER = Path(__file__).parent / "peers" / "stock_petastorm.py"


def main() -> None:
    options = arguments().parse_args()
    if options.case:
        print(json.dumps(run_here(options.case, Path(options.directory), options)))
        return
    from purchasepath.datasets.writer import PARQUET  # brings Spark, which the measured processes do without
    from purchasepath.storage.parquet import AS_WRITTEN

    rows = []
    if any(case.endswith(STOCK) for case in options.cases) and not options.stock_python:
        try:
            options.stock_python = peer_python(STOCK_PETASTORM)  # first: without it nothing is measured in vain
        except UserError as missing:
            print(f"error: {missing}", file=sys.stderr)
            sys.exit(2)
    with tempfile.TemporaryDirectory() as directory:
        settings = {} if options.pyarrow_files else AS_WRITTEN | PARQUET
        write_examples(Path(directory), options.rows, options.rows_per_group, **settings).save(Path(directory))
        for case in options.cases:
            rows.append(measure(case, Path(directory), options))
            print(line(rows[-1]), flush=True)
    print(verdict({row["case"]: row for row in rows}))
    if not options.no_save:
        save(rows, options)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rows-per-group", type=int, default=256, help="as the dataset stage writes them")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=10, help="of ours; the others run once")
    parser.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--pyarrow-files", action="store_true",
                        help="files by pyarrow's own settings (snappy, dictionaries), not those of the dataset stage")
    parser.add_argument("--stock-python", type=Path, help="python of an environment with stock Petastorm and torch")
    parser.add_argument("--no-save", action="store_true", help="print only")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--directory", help=argparse.SUPPRESS)
    return parser


def measure(case: str, directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One case in a process of its own, as a row of the results."""
    layout, name = case.split("/")
    if f"/{name}" == STOCK:
        settings = {"columns": LAYOUTS[layout], "batch_size": options.batch_size, "workers": WORKERS}
        told = ask_peer(options.stock_python, PEER, directory / "padded", json.dumps(settings))
    else:
        command = [sys.executable, __file__, *sys.argv[1:], "--case", case, "--directory", str(directory)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        told = json.loads(done.stdout.splitlines()[-1])
    if told["sequences"] != options.rows * epochs_of(name, options):
        raise RuntimeError(f"{case} delivered {told['sequences']} examples in {epochs_of(name, options)} epochs of "
                           f"{options.rows}")
    seconds, cpu_seconds = told["seconds"], told["cpu_seconds"]
    row = {"case": case, "value": round(told["sequences"] / seconds), "unit": "sequences/s",
           "tokens_per_s": round(told["tokens"] / seconds), "per_cpu_second": round(told["sequences"] / cpu_seconds),
           "seconds": round(seconds, 2), "cpu_seconds": round(cpu_seconds, 2), "memory_mb": told["memory_mb"]}
    return row | ({"versions": told["versions"]} if "versions" in told else {})


def epochs_of(name: str, options: argparse.Namespace) -> int:
    """How often a contestant reads all examples."""
    return {"ours": options.epochs, "ours padded": options.epochs, "decode": 5}.get(name, 1)


def run_here(case: str, directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What a contestant of this environment delivered, in what time and memory."""
    torch.set_num_threads(1)
    layout, name = case.split("/")
    manifest, process = Manifest.load(directory), psutil.Process()
    memory_mb, sequences, tokens = [], 0, 0
    cpu, clock = time.process_time(), time.perf_counter()
    for epoch in range(epochs_of(name, options)):
        for rows, events in CONTESTANTS[name](directory, manifest, LAYOUTS[layout], options.batch_size, epoch):
            sequences, tokens = sequences + rows, tokens + events
        memory_mb.append(round(process.memory_info().rss / 1e6))
    return {"sequences": sequences, "tokens": tokens, "seconds": time.perf_counter() - clock,
            "cpu_seconds": time.process_time() - cpu, "memory_mb": memory_mb}


def line(row: dict[str, Any]) -> str:
    memory = row["memory_mb"]
    grown = f" (after the first epoch {memory[0]})" if len(memory) > 1 else ""
    return (f"{row['case']:22} {row['value']:>9,} sequences/s  {row['tokens_per_s']:>11,} tokens/s  "
            f"{row['per_cpu_second']:>9,} sequences per CPU second  {memory[-1]:>5} MB{grown}")


def verdict(rows: dict[str, dict[str, Any]]) -> str:
    """Ours against those that the goal names, where they ran."""
    said = []
    for ours, case in product(OURS, ("examples/petastorm", "three lists/petastorm", "examples/decode")):
        if case in rows and ours in rows:
            wall, cpu = (rows[ours][key] / rows[case][key] for key in ("value", "per_cpu_second"))
            said.append(f"{ours} / {case}: {wall:.2f} by the clock, {cpu:.2f} by CPU time")
    return "\n".join(said)


def save(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    config = {"rows": options.rows, "rows_per_group": options.rows_per_group, "batch_size": options.batch_size,
              "files": "pyarrow" if options.pyarrow_files else "dataset stage"}
    machine = {"cores": os.cpu_count(), "load": [round(load, 1) for load in os.getloadavg()],
               "python": platform.python_version(), "torch": torch.__version__, "system": platform.platform()}
    content = {"machine": machine, "config": config, "rows": rows}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
