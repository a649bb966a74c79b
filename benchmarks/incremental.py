"""What a day costs: sessionize over 30 days in full, then over what arrives on day 31. Once with one event in a
hundred 2 to 72 hours late, each on its own, so that the days before are rewritten; once with none late, where only
sessions over midnight go on. With --check the tables are then compared with those of a full run over everything.

    python benchmarks/incremental.py [--events-per-day 100000] [--late-shares 0.01 0] [--check] [--scratch DIRECTORY]

Prints core-seconds (time that Spark tasks held a core) and CPU seconds of all processes of both and their ratios, and
writes benchmarks/results/incremental.json. The day is run twice: by the process that has just built everything, and by
a new one, where Spark's code is compiled and Python workers start anew, as with a scheduler; that costs the same for
any number of events.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyspark.sql.functions as F
from pyspark.sql import DataFrame

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "lib")]

from benchmarks.sessionize import local_settings  # noqa: E402
from benchmarks.sessionizers.generated_events import hex_ids  # noqa: E402
from benchmarks.sessionizers.measuring import measured  # noqa: E402
from jobs import sessionize as sessionize_job  # noqa: E402
from purchasepath.config import load_config  # noqa: E402
from purchasepath.job import Job  # noqa: E402
from purchasepath.sessions.engine.sessionize import sessionize  # noqa: E402
from purchasepath.sessions.lateness import keep_timely  # noqa: E402
from purchasepath.storage.data_files import DataFile  # noqa: E402
from purchasepath.storage.session import build_session  # noqa: E402
from purchasepath.tables.catalog import EVENT_CHANGES, EVENTS, SESSIONS  # noqa: E402
from purchasepath.times import DAY_US  # noqa: E402

NUM_CORES = min(2, os.cpu_count() or 1)
DAYS, HISTORY_DAYS = 31, 30
START_US = 1_704_067_200_000_000
BORDER_US = START_US + HISTORY_DAYS * DAY_US
EVENTS_PER_USER = 40
TYPES = ("view", "cart", "remove", "checkout", "purchase", "search")
TYPE_SHARES = (0.80, 0.09, 0.02, 0.02, 0.02, 0.05)
LATE_HOURS = (2.0, 72.0)


def draw_day(day: int, num_events: int, num_users: int, late_share: float, seed: int = 7) -> pa.Table:
    """EVENTS of the sessions that begin on a day: 8 events on average, heavy tail, a median of 20 s between them.

    Visitors by Zipf's law. A share of the events arrives 2 to 72 hours late, the others within 3 seconds.
    """
    rng = np.random.default_rng((seed, day))
    num_sessions = num_events // 8
    lengths = np.maximum(1, np.round(rng.lognormal(1.45, 1.13, num_sessions)).astype(np.int64))
    session = np.resize(np.repeat(np.arange(num_sessions), lengths), num_events)
    session.sort()
    since = np.cumsum(np.minimum(rng.lognormal(3.0, 1.2, num_events), 1700.0) * 1e6)
    firsts = np.flatnonzero(np.r_[True, session[1:] != session[:-1]])
    since -= np.repeat(since[firsts], np.diff(np.r_[firsts, num_events]))
    weights = np.cumsum(1.0 / np.arange(1, num_users + 1) ** 0.8)
    visitor = np.searchsorted(weights, rng.random(num_sessions) * weights[-1])
    began = START_US + day * DAY_US + rng.integers(0, DAY_US, num_sessions)
    at = began[session] + since.astype(np.int64)
    shortest, longest = (hours * 3.6e9 for hours in LATE_HOURS)
    late = rng.random(num_events) < late_share
    delay = np.where(late, shortest + rng.random(num_events) ** 2 * (longest - shortest), rng.random(num_events) * 3e6)
    numbers = np.arange(num_events, dtype=np.uint64) + np.uint64(day * num_events)
    items = pa.array(np.minimum(rng.pareto(0.9, num_events) * 20, 49_999).astype(np.int32))
    drawn = {
        "event_id": hex_ids(numbers, 2), "user_id": hex_ids(visitor[session].astype(np.uint64), 4),
        "event_ts": pa.array(at), "arrived_at": pa.array(at + delay.astype(np.int64)),
        "event_type": pa.array(TYPES).take(pa.array(rng.choice(len(TYPES), num_events, p=TYPE_SHARES))),
        "item_id": pa.array(np.char.mod("i%05d", np.arange(50_000))).take(items),
        "price": pa.array(np.round(rng.lognormal(3.0, 1.0, num_events), 2)),
        "quantity": pa.array(np.ones(num_events, dtype=np.int32)),
        "promotion": pa.array(np.zeros(num_events, dtype=bool)),
        "tie_order": pa.array(np.zeros(num_events, dtype=np.int32)),
        "event_date": pa.array((at // DAY_US).astype(np.int32)).cast(pa.date32()),
    }
    schema = EVENTS.arrow_schema()
    return pa.table([drawn[field.name].cast(field.type) if field.name in drawn
                     else pa.nulls(num_events, field.type) for field in schema], schema=schema)


@dataclass(frozen=True)
class Arrived:
    """The drawn events that arrived between two times, as files of EVENTS."""

    events_per_day: int
    late_share: float
    from_us: int
    to_us: int

    def write(self, directory: str) -> list[DataFile]:
        return list(self._write(Path(directory)))

    def _write(self, directory: Path) -> Iterator[DataFile]:
        for day in range(max(0, (self.from_us - START_US) // DAY_US - 4), DAYS):
            num_users = self.events_per_day * DAYS // EVENTS_PER_USER
            events = draw_day(day, self.events_per_day, num_users, self.late_share)
            arrived = events["arrived_at"].cast(pa.int64()).to_numpy()
            events = events.filter(pa.array((self.from_us <= arrived) & (arrived < self.to_us))).sort_by("arrived_at")
            dates = events["event_date"].to_numpy()
            for date in np.unique(dates):
                file = directory / f"event_date={date}" / f"drawn-{day:02d}-{self.to_us}.parquet"
                file.parent.mkdir(parents=True, exist_ok=True)
                rows = events.filter(pa.array(dates == date)).drop_columns(["event_date"])
                pq.write_table(rows, file, compression="zstd", row_group_size=250_000)
                yield DataFile(str(file), file.parent.name)


@dataclass(frozen=True)
class Cost:
    events: int
    core_seconds: float
    cpu_seconds: float

    def figures(self, case: str) -> Figures:
        return [(case, self.events, "events"), (case, self.core_seconds, "core-seconds"),
                (case, self.cpu_seconds, "CPU seconds")]

    def times(self, case: str, other: Cost) -> Figures:
        return [(case, self.core_seconds / other.core_seconds, "times the core-seconds"),
                (case, self.cpu_seconds / other.cpu_seconds, "times the CPU seconds")]


Figures = list[tuple[str, float, str]]
"""(case, value, unit) of each."""


def run(scratch: Path, options: argparse.Namespace) -> Figures:
    figures: Figures = []
    for share in options.late_shares:
        place, case = scratch / f"{share}", f"{share:.0%} late"
        full, day = in_a_process(build_and_add, place, options.events_per_day, share, options.check)
        alone = in_a_process(add, place, "again")
        figures += full.figures(f"full, 30 days, {case}") + day.figures(f"day 31 after it, {case}")
        figures += alone.figures(f"day 31 in its own process, {case}") + full.times(f"full / day after it, {case}", day)
        figures += full.times(f"full / day in its own process, {case}", alone)
    return figures


def in_a_process(work: Callable[..., Any], *arguments: Any) -> Any:
    """What `work` returns in a new process with a JVM of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def open_job(scratch: Path, name: str, warehouse: str = "warehouse") -> Job:
    paths = [f"paths.warehouse={scratch / warehouse}", f"paths.runs={scratch / 'runs'}"]
    config = load_config([], ["spark.driver_memory=4g", *local_settings(), *paths])
    return Job(name, config, spark=build_session("benchmark", config, master=f"local[{NUM_CORES}]"))


def build_and_add(scratch: Path, events_per_day: int, late_share: float, check: bool) -> tuple[Cost, Cost]:
    """30 days in full, then the 31st; leaves a second warehouse, `again`, in which it is still to do."""
    ingest = open_job(scratch, "ingest")
    with ingest.warehouse.transaction(ingest.run_id) as tx:
        tx.write(EVENTS, Arrived(events_per_day, late_share, 0, BORDER_US))
    full = sessionized(open_job(scratch, "sessionize"))

    ingest = open_job(scratch, "ingest")
    arrived = Arrived(events_per_day, late_share, BORDER_US, BORDER_US + DAY_US)
    new = ingest.spark.read.parquet(*(str(file.path) for file in arrived.write(scratch / "new")))
    with ingest.warehouse.transaction(ingest.run_id) as tx:
        tx.write(EVENTS, arrived, append=True)
        changes = new.withColumns({"change": F.lit("added"), "ingest_run": F.lit(ingest.run_id)})
        tx.write(EVENT_CHANGES, changes.select(*EVENT_CHANGES.names))
    shutil.copytree(scratch / "warehouse", scratch / "again", copy_function=os.link, symlinks=True)
    day = add(scratch, "warehouse")
    if check:
        check_against_full_run(open_job(scratch, "check"))
    return full, day


def add(scratch: Path, warehouse: str) -> Cost:
    return sessionized(open_job(scratch, "sessionize", warehouse))


def sessionized(job: Job) -> Cost:
    """Prints the job's own summary."""
    with measured() as used:
        summary = sessionize_job.run(job)
    cost = job.cost(summary.events)
    assert cost is not None
    print("\n".join([*summary.lines, f"cost: {cost}"]), flush=True)
    return Cost(summary.events or 0, cost.core_seconds, used["cpu_seconds"])


def check_against_full_run(job: Job) -> None:
    """Raises AssertionError unless SESSIONS are what a full run over all events gives."""
    events = keep_timely(job.warehouse.read(EVENTS), job.config.sessions)
    found, expected = (digest(frame) for frame in (job.warehouse.read(SESSIONS),
                                                   sessionize(events, job.config.sessions)))
    assert found == expected, (found, expected)


def digest(rows: DataFrame) -> tuple[int, ...]:
    """Rows, and two sums over a hash of every column: equal for equal rows in any order."""
    hashed = F.xxhash64(*rows.columns)
    row = rows.agg(F.count(F.lit(1)), F.sum(hashed.cast("decimal(38,0)")), F.bit_xor(hashed)).first()
    assert row is not None
    return tuple(int(value or 0) for value in row)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--events-per-day", type=int, default=100_000)
    parser.add_argument("--late-shares", type=float, nargs="+", default=[0.01, 0.0])
    parser.add_argument("--check", action="store_true", help="compare SESSIONS with a full run over everything")
    parser.add_argument("--scratch", type=Path, help="directory for the warehouse; a temporary one by default")
    options = parser.parse_args(arguments)
    with TemporaryDirectory(dir=options.scratch) as scratch:
        figures = run(Path(scratch), options)
    for case, value, unit in figures:
        print(f"{case:<44} {value:>14,.1f} {unit}")
    results = ROOT / "benchmarks" / "results" / "incremental.json"
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps({
        "machine": f"{NUM_CORES} cores, {platform.machine()}, {platform.system()}",
        "config": {"events_per_day": options.events_per_day, "history_days": HISTORY_DAYS},
        "rows": [{"case": case, "value": round(value, 3), "unit": unit} for case, value, unit in figures],
    }, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
