"""What a day costs: sessionize over 30 days in full, then over what arrives on day 31, late events of days before
included. The tables are then the same as those of a full run over everything, and that is checked.

    python benchmarks/incremental.py [--events-per-day 100000] [--scratch DIRECTORY]

Prints core-seconds (time that Spark tasks held a core) of both and their ratio, and writes
benchmarks/results/incremental.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyspark.sql.functions as F
from pyspark.sql import DataFrame, SparkSession

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "lib")]

from jobs import sessionize as sessionize_job  # noqa: E402
from purchasepath.config import load_config  # noqa: E402
from purchasepath.job import Job  # noqa: E402
from purchasepath.sessions.engine.summary import sessionize  # noqa: E402
from purchasepath.sessions.lateness import keep_timely  # noqa: E402
from purchasepath.storage.session import build_session  # noqa: E402
from purchasepath.tables.catalog import EVENT_CHANGES, EVENTS, SESSIONS  # noqa: E402

DAYS, HISTORY_DAYS = 31, 30
DAY_US = 86_400_000_000
START_US = 1_704_067_200_000_000
EVENTS_PER_USER = 40
TYPES = ("view", "cart", "remove", "checkout", "purchase", "search")
TYPE_SHARES = (0.80, 0.09, 0.02, 0.02, 0.02, 0.05)
LATE_SHARE, LATE_HOURS = 0.01, (2.0, 72.0)


def draw_day(day: int, num_events: int, num_users: int, seed: int = 7) -> pa.Table:
    """Events of the sessions that begin on a day: 8 events on average, heavy tail, a median of 20 s between them.

    Visitors by Zipf's law. One event in a hundred arrives 2 to 72 hours late, the others within 3 seconds.
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
    late = rng.random(num_events) < LATE_SHARE
    delay = np.where(late, shortest + rng.random(num_events) ** 2 * (longest - shortest), rng.random(num_events) * 3e6)
    return pa.table({
        "number": np.arange(num_events) + day * num_events, "user": visitor[session], "at_us": at,
        "arrived_us": at + delay.astype(np.int64), "type": rng.choice(len(TYPES), num_events, p=TYPE_SHARES),
        "item": np.minimum(rng.pareto(0.9, num_events) * 20, 49_999).astype(np.int64),
        "price": np.round(rng.lognormal(3.0, 1.0, num_events), 2),
    })


def as_events(drawn: DataFrame) -> DataFrame:
    """EVENTS of what was drawn; columns that a shop may leave out are empty."""
    types = F.array(*map(F.lit, TYPES))
    made = drawn.select(
        F.substring(F.sha2(F.concat(F.lit("event"), "number"), 256), 1, 32).alias("event_id"),
        F.sha2(F.col("user").cast("string"), 256).alias("user_id"),
        F.timestamp_micros("at_us").alias("event_ts"), F.timestamp_micros("arrived_us").alias("arrived_at"),
        F.get(types, F.col("type")).alias("event_type"), F.concat(F.lit("i"), "item").alias("item_id"), "price",
        F.lit(1).alias("quantity"), F.lit(False).alias("promotion"),
        F.to_date(F.timestamp_micros("at_us")).alias("event_date"),
    )
    empty = {c.name: F.lit(None).cast(c.type) for c in EVENTS.columns if c.name not in made.columns}
    return EVENTS.select(made.withColumns(empty))


def run(spark: SparkSession, scratch: Path, events_per_day: int) -> list[tuple[str, float, str]]:
    """(case, value, unit) of each figure."""
    config = load_config([], [f"paths.{name}={scratch / name}" for name in ("warehouse", "runs")])
    for day in range(DAYS):
        pq.write_table(draw_day(day, events_per_day, events_per_day * DAYS // EVENTS_PER_USER),
                       scratch / f"drawn-{day:02d}.parquet")
    drawn = spark.read.parquet(*(str(scratch / f"drawn-{day:02d}.parquet") for day in range(DAYS)))
    border_us = START_US + HISTORY_DAYS * DAY_US
    arrived = F.col("arrived_us")

    ingest = Job("ingest", config, spark=spark)
    with ingest.warehouse.transaction(ingest.run_id) as tx:
        tx.write(EVENTS, as_events(drawn.where(arrived < border_us)))
    full_events, full_s = measured(Job("sessionize", config, spark=spark))

    ingest = Job("ingest", config, spark=spark)
    with ingest.warehouse.transaction(ingest.run_id) as tx:
        new = as_events(drawn.where((arrived >= border_us) & (arrived < border_us + DAY_US)))
        tx.write(EVENTS, new, append=True)
        changes = new.withColumns({"change": F.lit("added"), "ingest_run": F.lit(ingest.run_id)})
        tx.write(EVENT_CHANGES, changes.select(*EVENT_CHANGES.names))
    day_events, day_s = measured(Job("sessionize", config, spark=spark))
    check_against_full_run(Job("check", config, spark=spark))
    return [
        ("full, 30 days", full_s, "core-seconds"), ("full, 30 days", full_events, "events"),
        ("day 31", day_s, "core-seconds"), ("day 31", day_events, "events"),
        ("full / day", full_s / day_s, "times"),
    ]


def measured(job: Job) -> tuple[int, float]:
    """Events worked through and core-seconds; prints the job's own summary."""
    summary = sessionize_job.run(job)
    cost = job.cost(summary.events)
    assert cost is not None
    print("\n".join([*summary.lines, f"cost: {cost}"]), flush=True)
    return summary.events or 0, cost.core_seconds


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
    parser.add_argument("--scratch", type=Path, help="directory for the warehouse; a temporary one by default")
    options = parser.parse_args(arguments)
    cores = min(2, os.cpu_count() or 1)
    with TemporaryDirectory(dir=options.scratch) as scratch:
        config = load_config([], ["spark.driver_memory=4g", "spark.conf.spark.ui.enabled=false"])
        spark = build_session("benchmark", config, master=f"local[{cores}]")
        figures = run(spark, Path(scratch), options.events_per_day)
        spark.stop()
    for case, value, unit in figures:
        print(f"{case:<16} {value:>14,.1f} {unit}")
    results = ROOT / "benchmarks" / "results" / "incremental.json"
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps({
        "machine": f"{cores} cores, {platform.machine()}, {platform.system()}",
        "config": {"events_per_day": options.events_per_day, "history_days": HISTORY_DAYS, "late_share": LATE_SHARE},
        "rows": [{"case": case, "value": round(value, 3), "unit": unit} for case, value, unit in figures],
    }, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
