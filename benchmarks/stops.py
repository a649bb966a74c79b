"""What Ctrl-C and TERM leave of real jobs at random moments, and two of one job at once of each other.

    python benchmarks/stops.py [--signals 24] [--collisions 8] [--seed 6] [--users 400] [--scratch DIRECTORY]

Jobs and shop are those of `kills.py`. After a signal the job must have ended with 130 or 143 (or with 0, where it was
done before), said at most one line for it, no traceback, and left no process; every table is the one before the job or
the one after it, and the same job, run again, ends where a run that nobody stopped ends. Two of one job at once: each
ends with 0, or with 2 and one message; one of them at least with 0; and the tables are those after the job.

Counts per job: `right`, and every fault by its name. Writes benchmarks/results/stops.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "lib")]

from benchmarks.kills import PATIENCE_SECONDS, STAGES, Trial, build_shop, restore, trial_of  # noqa: E402
from purchasepath.config import load_config  # noqa: E402
from purchasepath.storage.session import build_session  # noqa: E402

RIGHT = "right"
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@dataclass(frozen=True)
class Ended:
    """How a process ended, what it said, and which of its processes it left behind."""

    code: int
    said: str
    left: int

    @property
    def faults(self) -> list[str]:
        return ["a traceback"] * ("Traceback" in self.said) + ["a process left behind"] * bool(self.left)


class Started:
    """A job by `./spark-submit.sh`, in a group of its own, as from a terminal."""

    def __init__(self, trial: Trial, file: Path) -> None:
        options = [part for override in trial.shop.overrides(trial.job) for part in ("--set", override)]
        self.file = file
        with file.open("wb") as out:
            self.process = subprocess.Popen(
                ["env", "--default-signal=INT", str(ROOT / "spark-submit.sh"), trial.job, *options],
                stdout=out, stderr=subprocess.STDOUT, start_new_session=True)

    def family(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def loads(self) -> bool:
        """Whether Python has begun: before, a signal meets a JVM alone."""
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                if "python" in process.name():
                    return True
        return self.process.poll() is not None

    def stop(self, number: signal.Signals) -> Ended:
        """As a terminal does it, or a scheduler."""
        family = self.family()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number) if number == signal.SIGINT else os.kill(self.process.pid, number)
        return self.end(family)

    def end(self, family: list[psutil.Process] | None = None) -> Ended:
        code = self.process.wait(PATIENCE_SECONDS)
        _, alive = psutil.wait_procs(family or [], timeout=20)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return Ended(code, self.file.read_text(encoding="utf-8", errors="replace"), len(alive))


def stop(trial: Trial, number: signal.Signals, rng: random.Random, scratch: Path) -> list[str]:
    """The faults of a job that gets a signal at a random moment."""
    restore(trial.shop.root, trial.before)
    job = Started(trial, scratch / "said")
    while not job.loads():
        time.sleep(0.01)
    time.sleep(rng.random() * (trial.run_seconds + 4))  # some seconds go by before the first thing is staged
    ended = job.stop(number)
    faults = ended.faults
    if ended.code not in (0, CODES[number]):
        faults.append(f"ended with {ended.code}")
    if trial.shop.state() not in (trial.old, trial.new):
        faults.append("neither the old tables nor the new ones")
    return faults + repair(trial)


def collide(trial: Trial, rng: random.Random, scratch: Path) -> list[str]:
    """The faults of two of a job, the second started a little later."""
    restore(trial.shop.root, trial.before)
    jobs = [Started(trial, scratch / "first")]
    time.sleep(rng.random() * 3)
    jobs.append(Started(trial, scratch / "second"))
    ended = [job.end() for job in jobs]
    faults = [fault for one in ended for fault in one.faults]
    codes = sorted(one.code for one in ended)
    if codes not in ([0, 0], [0, 2]):
        faults.append(f"ended with {codes[0]} and {codes[1]}")
    return faults + repair(trial)


def repair(trial: Trial) -> list[str]:
    trial.shop.run(trial.job, changed=True)
    right = trial.shop.state() == trial.new and not list((trial.shop.root / "warehouse/staging").iterdir())
    return [] if right else ["not repaired"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--signals", type=int, default=24)
    parser.add_argument("--collisions", type=int, default=8)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--users", type=int, default=400, help="visitors of the shop")
    parser.add_argument("--scratch", type=Path, help="directory for the shop; a temporary one by default")
    parser.add_argument("--no-save", action="store_true", help="print only")
    options = parser.parse_args()
    rng, counts = random.Random(options.seed), Counter[tuple[str, str]]()
    with TemporaryDirectory(dir=options.scratch) as directory:
        scratch = Path(directory)
        settings = load_config([], [f"paths.warehouse={scratch}/shop/warehouse", "spark.shuffle_partitions=2",
                                    "spark.conf.spark.ui.enabled=false"])
        spark = build_session("stops", settings, master="local[2]")
        shop = build_shop(spark, scratch / "shop", options.users)
        for job in STAGES:
            shop.run(job)
            trial = trial_of(shop, job, scratch / f"before-{job}")
            trials = [(f"{job}, {number.name}", stop(trial, number, rng, scratch))
                      for number in CODES for _ in range(options.signals // (len(STAGES) * len(CODES)))]
            trials += [(f"{job}, two at once", collide(trial, rng, scratch))
                       for _ in range(options.collisions // len(STAGES))]
            counts.update((case, fault) for case, faults in trials for fault in faults or [RIGHT])
            restore(shop.root, trial.before)
            shop.run(job, changed=True)
            print({f"{case}: {fault}": n for (case, fault), n in counts.items() if case.startswith(job)}, flush=True)
        spark.stop()
    if not options.no_save:
        results = {"machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
                   "config": {"signals": options.signals, "collisions": options.collisions, "seed": options.seed,
                              "users": options.users},
                   "rows": [{"case": case, "value": n, "unit": fault} for (case, fault), n in sorted(counts.items())]}
        file = ROOT / "benchmarks" / "results" / "stops.json"
        file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
