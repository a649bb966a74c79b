"""What knowing every file of a commit costs: seconds in `storage/contents.py` beside those of the stages that write.

    python benchmarks/digests.py [--users 20000] [--scratch DIRECTORY]

The stages run in one process on a generated shop. Told per stage: seconds by the clock, those that the driver spent in
describing what it wrote and in comparing what it opened, their share, and bytes described. The driver does nothing else
meanwhile, so the share is one of the run's time; files that were just written come from memory, as they do in a commit.
Writes benchmarks/results/digests.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "lib")]

from jobs.pipeline import load_stage  # noqa: E402
from purchasepath.config import load_config  # noqa: E402
from purchasepath.datasets import build, manifest  # noqa: E402
from purchasepath.job import Job, run_job  # noqa: E402
from purchasepath.storage import snapshots  # noqa: E402
from purchasepath.storage.session import build_session  # noqa: E402

STAGES = ("simulate", "ingest", "sessionize", "features", "dataset")
MEASURED = ((snapshots, "describe"), (snapshots, "faults_in"), (snapshots, "read_contents"),
            (snapshots, "write_contents"), (build, "describe"), (manifest, "faults_in"))


@dataclass
class Spent:
    """Seconds in the measured functions; `depth`: one of them is running."""

    seconds: float = 0.0
    described: int = 0
    depth: int = 0

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            began, self.depth = time.perf_counter(), self.depth + 1
            try:
                result = function(*arguments, **named)
            finally:
                self.depth -= 1
                self.seconds += 0 if self.depth else time.perf_counter() - began
            if function.__name__ == "describe":
                self.described += sum(facts.bytes for facts in result.values())
            return result

        return call


@contextmanager
def measured(spent: Spent) -> Iterator[None]:
    before = [(module, name, getattr(module, name)) for module, name in MEASURED]
    for module, name, function in before:
        setattr(module, name, spent.counted(function))
    try:
        yield
    finally:
        for module, name, function in before:
            setattr(module, name, function)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--users", type=int, default=20_000, help="visitors of the shop; the default's")
    parser.add_argument("--scratch", type=Path, help="directory for the shop; a temporary one by default")
    parser.add_argument("--no-save", action="store_true", help="print only")
    options = parser.parse_args()
    rows = []
    with TemporaryDirectory(dir=options.scratch) as scratch:
        config = load_config([], [f"simulate.users={options.users}", f"ingest.pseudonym_key_file={scratch}/key", *(
            f"paths.{name}={scratch}/{name}" for name in ("raw", "warehouse", "dataset", "models", "runs"))])
        spark = build_session("digests", config, master=f"local[{os.cpu_count()}]")
        for stage in STAGES:
            spent, began = Spent(), time.perf_counter()
            with measured(spent):
                run_job(Job(stage, config, spark=spark), load_stage(stage).run)
            seconds = time.perf_counter() - began
            rows.append({"case": stage, "value": round(spent.seconds / seconds, 4), "unit": "share of the stage's time",
                         "digest_seconds": round(spent.seconds, 3), "stage_seconds": round(seconds, 2),
                         "described_mb": round(spent.described / 1e6, 1)})
            print("{case:<12} {digest_seconds:>8.3f} of {stage_seconds:>8.2f} s = {value:.2%}, "
                  "{described_mb:,.1f} MB described".format(**rows[-1]), flush=True)
        spark.stop()
    whole = sum(row["digest_seconds"] for row in rows) / sum(row["stage_seconds"] for row in rows)
    print(f"all: {whole:.2%}")
    if not options.no_save:
        content = {"machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
                   "config": {"users": options.users},
                   "rows": [*rows, {"case": "all", "value": round(whole, 4), "unit": "share of the stages' time"}]}
        (ROOT / "benchmarks" / "results" / "digests.json").write_text(json.dumps(content, indent=1) + "\n",
                                                                    encoding="utf-8")


if __name__ == "__main__":
    main()
