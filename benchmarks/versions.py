"""What other versions of the packages cost: our benchmarks in this checkout and in another one, in turn.

    python benchmarks/versions.py --before <checkout> [--runs 5] [--cases sessionize feed …] [--no-save]

Both checkouts have an environment of their own (`.venv`), so code and packages differ together. A case is run in the
other checkout, then here, then there again …; each pair gives a ratio of processor seconds (of `feed` and `training`
the part that counts, as these benchmarks measure it). Told are the median ratio and its 95 % interval (the percentile
bootstrap over pairs): a machine that gets slower meanwhile does so for both.

    sessionize    `sessionize.py`, ours, 3 million events, from files to files
    day           `incremental.py`: the full run over 30 days, and the 31st in time and with late events
    feed          `feed.py`, ours, ten epochs of 100,000 examples, packed
    training      `training.py`, ours, the second epoch of 4,096 examples
    pipeline      `./spark-submit.sh pipeline` with its defaults, the whole process
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "versions.json"
EVENTS = 3_000_000
EVENTS_PER_DAY = 100_000
Figures = dict[str, float]
"""Processor seconds by what was measured."""


def main() -> None:
    options = arguments().parse_args()
    before, rows = options.before.resolve(), []
    for case in options.cases:
        pairs = []
        with tempfile.TemporaryDirectory(prefix="purchasepath-versions-") as scratch:
            for run in range(options.runs):
                pair = [CASES[case](checkout, Path(scratch) / name) for name, checkout in
                        (("before", before), ("now", ROOT))]
                pairs.append(pair)
                print(f"{case} {run + 1}/{options.runs}: " + ", ".join(
                    f"{name} {was:.2f} -> {pair[1][name]:.2f}" for name, was in pair[0].items()), flush=True)
        for name in pairs[0][0]:
            rows.append(as_row(f"{case}/{name}", [was[name] for was, _ in pairs], [now[name] for _, now in pairs]))
            print(line(rows[-1]), flush=True)
    if not options.no_save:
        save(rows, options)


def sessionize(checkout: Path, scratch: Path) -> Figures:
    source = scratch / "source"
    if not source.exists():  # the same rows for both: the generator draws them from a seed
        made = "from sessionizers.generated_events import write_events; import sys, pathlib; "
        made += f"write_events(pathlib.Path(sys.argv[1]), 'realistic', {EVENTS})"
        run(checkout, "-c", made, str(source), cwd=checkout / "benchmarks")
    target = scratch / "target"
    told = run(checkout, "benchmarks/sessionize.py", "--engine", "ours",
               "--source", str(source), "--target", str(target))
    shutil.rmtree(target)
    return {"cpu": last_json(told)["cpu_seconds"]}


def day(checkout: Path, scratch: Path) -> Figures:
    scratch.mkdir(exist_ok=True)
    results = checkout / "benchmarks" / "results" / "incremental.json"
    kept = results.read_bytes()
    try:
        run(checkout, "benchmarks/incremental.py", "--events-per-day", str(EVENTS_PER_DAY), "--scratch", str(scratch))
        rows = json.loads(results.read_text(encoding="utf-8"))["rows"]
    finally:
        results.write_bytes(kept)
    return {row["case"]: row["value"] for row in rows if row["unit"] == "core-seconds"}


def feed(checkout: Path, scratch: Path) -> Figures:
    options = ["--rows", "100000"]
    if not scratch.exists():
        scratch.mkdir()
        run(checkout, "-c", WRITE_EXAMPLES, str(scratch))
    told = run(checkout, "benchmarks/feed.py", *options, "--case", "examples/ours", "--directory", str(scratch))
    return {"cpu": last_json(told)["cpu_seconds"]}


def training(checkout: Path, scratch: Path) -> Figures:
    if not scratch.exists():
        scratch.mkdir()
        made = "import sys, pathlib; sys.path[:0] = ['.', 'lib']; import benchmarks.training as training; "
        made += "place = pathlib.Path(sys.argv[1]); training.write_seen_items(place, 4096).save(place)"
        run(checkout, "-c", made, str(scratch))
    told = run(checkout, "benchmarks/training.py", "--case", "ours", "--directory", str(scratch))
    return {"cpu": last_json(told)["epochs"][-1]["cpu_seconds"]}


def pipeline(checkout: Path, scratch: Path) -> Figures:
    """The whole default pipeline in an empty directory: processor and clock seconds of all its processes."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    used, clock = children_cpu(), time.perf_counter()
    subprocess.run([checkout / "spark-submit.sh", "pipeline"], cwd=scratch, check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    return {"cpu": children_cpu() - used, "clock": time.perf_counter() - clock}


CASES: dict[str, Callable[[Path, Path], Figures]] = {
    "sessionize": sessionize, "day": day, "feed": feed, "training": training, "pipeline": pipeline}


def run(checkout: Path, *words: str, cwd: Path | None = None) -> str:
    """What a Python of the checkout's environment prints."""
    command = [checkout / ".venv" / "bin" / "python", *words]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd or checkout, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} in {checkout} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def last_json(told: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    return found


def children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def as_row(case: str, before: list[float], now: list[float]) -> dict[str, Any]:
    """Median ratio now / before, with its interval over pairs; below 1 is cheaper now."""
    ratios = np.array(now) / np.array(before)
    drawn = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    return {"case": case, "value": round(float(np.median(ratios)), 3), "unit": "ratio now / before",
            "low": round(float(low), 3), "high": round(float(high), 3), "runs": len(ratios),
            "before_seconds": round(statistics.median(before), 2), "now_seconds": round(statistics.median(now), 2)}


def line(row: dict[str, Any]) -> str:
    return (f"{row['case']:<44} {row['before_seconds']:>8.2f} s -> {row['now_seconds']:>8.2f} s   "
            f"x {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]  of {row['runs']} pairs")


def save(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Adds to the results of earlier runs; a case measured again takes the place of what it was."""
    earlier = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"] if RESULTS.exists() else []
    mine = {row["case"] for row in rows}
    versions = {name: json.loads(run(checkout, "-c", TELL)) for name, checkout in
                (("before", options.before.resolve()), ("now", ROOT))}
    content = {"machine": {"cores": os.cpu_count(), "system": platform.platform()},
               "config": {"events": EVENTS, "events_per_day": EVENTS_PER_DAY, "versions": versions},
               "rows": [*(row for row in earlier if row["case"] not in mine), *rows]}
    RESULTS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


WRITE_EXAMPLES = """
import pathlib, sys
sys.path[:0] = [".", "lib"]
from benchmarks.feeds.generated_examples import write_examples
from purchasepath.datasets.writer import PARQUET
try:
    from purchasepath.storage.parquet import AS_WRITTEN
except ImportError:  # before pages had checksums
    AS_WRITTEN = {}
place = pathlib.Path(sys.argv[1])
write_examples(place, 100_000, 256, **AS_WRITTEN, **PARQUET).save(place)
"""
"""A program that writes examples as the dataset stage of its checkout does."""

TELL = """
import json, platform
from importlib.metadata import version
print(json.dumps({"python": platform.python_version(), **{name: version(name) for name in (
    "pyspark", "pyarrow", "numpy", "pandas", "torch", "petastorm", "horovod", "mlflow")}}))
"""
"""A program that prints the versions of the packages of its environment."""


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--before", type=Path, required=True, help="another checkout with its environment set up")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--no-save", action="store_true", help="print only")
    return parser


if __name__ == "__main__":
    sys.exit(main())
