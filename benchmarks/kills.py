"""What `kill -9` leaves of real jobs: half of the kills at random moments, half in the commit.

    python benchmarks/kills.py [--kills 60] [--seed 5] [--users 400] [--scratch DIRECTORY]

A job is started by `./spark-submit.sh` on a copy of a small shop and killed with all its processes. Afterwards every
table, and the dataset, must be the one before the job or the one after it, all of them together; then the same job is
run again and must end where a run that nobody killed ends, with nothing left in staging.

    ingest        a second delivery joins the first
    sessionize    new rules: every session changes
    features      as-of times lie closer
    dataset       longer histories (its commit is one rename of the manifest: killed at random moments alone)

Counts per job and moment: `old` and `new`, what was found after the kill; `neither` and `not repaired`: none may be.
Writes benchmarks/results/kills.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pyspark.sql.functions as F
from pyspark.sql import DataFrame, SparkSession

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "lib")]

from jobs.pipeline import load_stage  # noqa: E402
from purchasepath.config import Config, load_config  # noqa: E402
from purchasepath.datasets.manifest import Manifest  # noqa: E402
from purchasepath.job import Job, run_job  # noqa: E402
from purchasepath.storage import open_warehouse  # noqa: E402
from purchasepath.storage.session import build_session  # noqa: E402
from purchasepath.tables.catalog import EVENTS, SESSIONS, USER_KEYS  # noqa: E402
from purchasepath.tables.features import FEATURE_TABLES  # noqa: E402

STAGES = ("ingest", "sessionize", "features", "dataset")
CHANGES = {"ingest": "ingest.history=add", "sessionize": "sessions.gap_minutes=5",
           "features": "features.every_hours=12",
           "dataset": "dataset.max_length=16"}
"""What makes the second run of each job differ from the first (ingest: a second file)."""
TABLES = (EVENTS, USER_KEYS, SESSIONS, *FEATURE_TABLES)
"""Rows of rejected_events belong to a run, so a second run has them twice."""
OLD, NEW, NEITHER, NOT_REPAIRED = "old", "new", "neither", "not repaired"
OUTCOMES = (OLD, NEW, NEITHER, NOT_REPAIRED)
AT_RANDOM, IN_COMMIT = "at random", "in the commit"
PATIENCE_SECONDS = 600.0
State = Mapping[str, tuple[int, ...]]
"""Rows and a sum over their hashes, per table; of the dataset a number of what its manifest says."""


@dataclass(frozen=True)
class Shop:
    """A shop as far as its dataset, with a second delivery that waits in `later`."""

    spark: SparkSession
    root: Path
    users: int

    def overrides(self, job: str = "") -> list[str]:
        change = [CHANGES[job]] if job else []
        return [f"simulate.users={self.users}", "simulate.days=28", "dataset.rows_per_group=64",
                "spark.shuffle_partitions=2", f"ingest.pseudonym_key_file={self.root}/key", *change,
                *(f"paths.{name}={self.root}/{name}" for name in ("raw", "warehouse", "dataset", "models", "runs"))]

    def config(self, job: str = "") -> Config:
        return load_config([], self.overrides(job))

    def run(self, stage: str, *, changed: bool = False) -> None:
        run_job(Job(stage, self.config(stage if changed else ""), spark=self.spark), load_stage(stage).run)

    def state(self) -> State:
        warehouse, config = open_warehouse(self.spark, self.config()), self.config()
        found = {t.name: digest(warehouse.read(t)) for t in TABLES if warehouse.exists(t)}
        manifest = Manifest.load(config.paths.dataset)
        manifest.verify(config.paths.dataset)
        return {**found, "dataset": (int(manifest.fingerprint, 16),)}

    def staged(self) -> set[Path]:
        """What is begun and not published: in the warehouse's staging, and versions of the dataset."""
        return {*(self.root / "warehouse/staging").glob("*"), *(self.root / "dataset").glob("*")}

    def snapshots(self) -> int:
        """Number of the newest snapshot that was begun."""
        return max((int(place.name) for place in (self.root / "warehouse/snapshots").iterdir()), default=0)


def build_shop(spark: SparkSession, root: Path, users: int) -> Shop:
    shop = Shop(spark, root, users)
    shop.run("simulate")
    events = sorted(file for file in (root / "raw/events").rglob("*.gz"))
    (root / "later").mkdir()
    for file in events[1::2]:
        shutil.move(file, root / "later" / file.name)
    for stage in STAGES:
        shop.run(stage)
    return shop


def digest(frame: DataFrame) -> tuple[int, ...]:
    hashed = F.xxhash64(*[F.col(name).cast("string") if kind.startswith("map") else F.col(name)
                          for name, kind in frame.dtypes])
    row = frame.agg(F.count(F.lit(1)), F.sum(hashed.cast("decimal(38,0)"))).first()
    assert row is not None
    return tuple(int(value or 0) for value in row)


@dataclass(frozen=True)
class Trial:
    """A job on a shop: how it begins, what it leads to, and how long it takes when nobody kills it."""

    shop: Shop
    job: str
    before: Path
    old: State
    new: State
    run_seconds: float
    commit_seconds: float

    def kill(self, moment: str, random: random.Random) -> str:
        """What the job's tables are after a kill, and after the run that follows."""
        restore(self.shop.root, self.before)
        snapshots, staged = self.shop.snapshots(), self.shop.staged()
        with started(self.shop, self.job) as process:
            if moment == IN_COMMIT:
                wait_until(lambda: self.shop.snapshots() > snapshots, process)
                time.sleep(self.commit_seconds * random.random())
            else:
                wait_until(lambda: self.shop.staged() > staged, process)
                time.sleep(self.run_seconds * random.random())
        found = self.shop.state()
        outcome = OLD if found == self.old else NEW if found == self.new else NEITHER
        self.shop.run(self.job, changed=True)
        repaired = self.shop.state() == self.new and not list((self.shop.root / "warehouse/staging").iterdir())
        return outcome if repaired else NOT_REPAIRED


def trial_of(shop: Shop, job: str, before: Path) -> Trial:
    """The shop as it is; run once, watched."""
    if job == "ingest":
        for file in (shop.root / "later").iterdir():
            shutil.move(file, shop.root / "raw/events" / file.name)
    save(shop.root, before)
    old, snapshots, staged = shop.state(), shop.snapshots(), shop.staged()
    with started(shop, job) as process:
        wait_until(lambda: shop.staged() > staged, process)
        began = time.monotonic()
        wait_until(lambda: shop.snapshots() > snapshots or process.poll() is not None, process, may_end=True)
        committing = time.monotonic()
        wait_until(lambda: shop.staged() <= staged or process.poll() is not None, process, may_end=True)
        ended = time.monotonic()
        if process.wait(PATIENCE_SECONDS):
            raise SystemExit(f"{job} ended with {process.returncode} when nobody killed it")
    new = shop.state()
    if new == old:
        raise SystemExit(f"{job} changed nothing: nothing could be told of a kill")
    return Trial(shop, job, before, old, new, ended - began, ended - committing)


@contextmanager
def started(shop: Shop, job: str) -> Iterator[subprocess.Popen[bytes]]:
    """The job by `./spark-submit.sh`, in a group of processes that is killed at the end."""
    options = [part for override in shop.overrides(job) for part in ("--set", override)]
    words = [str(ROOT / "spark-submit.sh"), job, *options]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # it may have ended by then
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes], *, may_end: bool = False) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if process.poll() is not None and not may_end:
            raise SystemExit(f"a job ended with {process.returncode} before it could be killed")
        if time.monotonic() > until:
            raise SystemExit("a job took too long")
        time.sleep(0.002)


def save(root: Path, copy: Path) -> None:
    for name in ("warehouse", "dataset"):
        shutil.copytree(root / name, copy / name, symlinks=True)


def restore(root: Path, copy: Path) -> None:
    for name in ("warehouse", "dataset"):
        shutil.rmtree(root / name)
        shutil.copytree(copy / name, root / name, symlinks=True)


def moments(job: str, kills: int) -> Iterator[str]:
    for number in range(kills):
        yield AT_RANDOM if job == "dataset" or number % 3 == 0 else IN_COMMIT


def run(shop: Shop, jobs: Sequence[str], kills: int, seed: int, scratch: Path) -> Counter[tuple[str, str]]:
    """(job and moment, outcome) → how often. The jobs are tried in the order of the pipeline."""
    rng, counts = random.Random(seed), Counter[tuple[str, str]]()
    share, rest = divmod(kills, len(jobs))
    for number, job in enumerate(jobs):
        shop.run(job)  # up to date with the jobs before it: what is left to do is one commit
        trial = trial_of(shop, job, scratch / f"before-{job}")
        for moment in moments(job, share + (number < rest)):
            counts[f"{job}, {moment}", trial.kill(moment, rng)] += 1
        restore(shop.root, trial.before)
        shop.run(job, changed=True)  # the next job goes on from here
        print(f"{job}: " + ", ".join(f"{n} {outcome} ({case.partition(', ')[2]})"
                                     for (case, outcome), n in sorted(counts.items()) if case.startswith(job)),
              flush=True)
    return counts


def as_results(counts: Counter[tuple[str, str]], options: argparse.Namespace) -> dict[str, object]:
    rows = [{"case": case, "value": counts[case, outcome], "unit": outcome}
            for case in sorted({case for case, _ in counts}) for outcome in OUTCOMES if counts[case, outcome]]
    total = [{"case": "all", "value": sum(n for (_, o), n in counts.items() if o == outcome), "unit": outcome}
             for outcome in OUTCOMES]
    return {"machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
            "config": {"kills": options.kills, "seed": options.seed, "users": options.users}, "rows": [*total, *rows]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--users", type=int, default=400, help="visitors of the shop")
    parser.add_argument("--scratch", type=Path, help="directory for the shop; a temporary one by default")
    parser.add_argument("--no-save", action="store_true", help="print only")
    options = parser.parse_args()
    with TemporaryDirectory(dir=options.scratch) as scratch:
        settings = load_config([], [f"paths.warehouse={scratch}/shop/warehouse", "spark.shuffle_partitions=2",
                                    "spark.conf.spark.ui.enabled=false"])
        spark = build_session("kills", settings, master="local[2]")
        shop = build_shop(spark, Path(scratch) / "shop", options.users)
        counts = run(shop, STAGES, options.kills, options.seed, Path(scratch))
        spark.stop()
    if not options.no_save:
        file = ROOT / "benchmarks" / "results" / "kills.json"
        file.write_text(json.dumps(as_results(counts, options), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
