"""Run one job: arguments, configuration, logging, Spark session, exit code, run manifest.

Exit codes: 0 done; 2 the user can put it right (one message, no traceback); 1 a defect (with traceback); 130 and 143
interrupted and terminated.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import secrets
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from purchasepath import __version__
from purchasepath.config import Config, load_config
from purchasepath.cost import Cost, Meter
from purchasepath.errors import UserError, plain_text
from purchasepath.faults import explain_failure
from purchasepath.process import Terminated, lost_its_jvm, run_in_utc, stop_code, stoppable
from purchasepath.stages import command, next_command

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from purchasepath.storage.warehouse import Warehouse


@dataclass
class Summary:
    """What a job tells when it is done: rows per table, short facts, and what to run next.

    `next`: by default the next stage. `events`: events it worked through, to which its cost is related.
    `processor_seconds`, told by `run_job`: how long its tasks held cores, and what this process computed by itself.
    """

    rows: dict[str, int] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    next: str = ""
    events: int | None = None
    processor_seconds: float = 0.0


class Job:
    """One run of one stage. Spark and the warehouse are opened when first used.

    `stages`: what is run, where that is not the stage of this name. `may_write`: tables that an earlier release wrote
    are brought up to date when the warehouse is opened.
    """

    def __init__(self, name: str, config: Config, *, spark: SparkSession | None = None, stages: Sequence[str] = (),
                 may_write: bool = True) -> None:
        self.name = name
        self.config = config
        self.stages = stages or (name,)
        self.started_at = datetime.now(UTC)
        # a clock may show a moment twice, and another machine's the same: the last part tells runs apart
        self.run_id = f"{self.started_at:%Y%m%dT%H%M%S%f}-{name}-{secrets.token_hex(4)}"
        self.log = logging.getLogger(f"purchasepath.{name}")
        self._given_spark = spark
        self.may_write = may_write
        self._meter: Meter | None = None

    @cached_property
    def spark(self) -> SparkSession:
        from purchasepath.storage.mounts import needs_of, require_reach
        from purchasepath.storage.session import build_session
        from purchasepath.storage.settings import refuse_settings

        refuse_settings(self.config.spark.conf, self.config.warehouse.catalog)
        spark = self._given_spark or build_session(self.name, self.config)
        require_reach(spark, [need for stage in self.stages for need in needs_of(stage, self.config)])
        self._meter = Meter(spark)
        return spark

    @cached_property
    def warehouse(self) -> Warehouse:
        from purchasepath.storage import open_warehouse

        warehouse = open_warehouse(self.spark, self.config)
        if self.may_write and (migrated := warehouse.migrate(self.run_id)):
            self.log.info("brought up to date what an earlier release wrote: %s", ", ".join(migrated))
        return warehouse

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Failures in using a path of the configuration, within the block, as UserError."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            message = explain_failure(error, self.config)
            if message is None:
                raise
            raise UserError(message) from error

    def cost(self, events: int | None = None) -> Cost | None:
        """What the run's Spark tasks have cost so far; None where it used no Spark."""
        return self._meter.read(events) if self._meter else None


def run_job(job: Job, run: Callable[[Job], Summary]) -> Summary:
    """Run the stage, print its summary and leave its manifest in `paths.runs`."""
    from purchasepath.storage.executors import submitted_to_cluster

    clock, processor = time.perf_counter(), time.process_time()
    if submitted_to_cluster():
        _ = job.spark  # what executors cannot reach is told before the work, also by stages that need Spark at the end
    with job.explaining():
        Path(job.config.paths.runs).mkdir(parents=True, exist_ok=True)  # what cannot be is told before the work
        summary = run(job)
        seconds = time.perf_counter() - clock
        cost = job.cost(summary.events)
        summary.next = summary.next or next_command(job.name)
        summary.processor_seconds = time.process_time() - processor + (cost.core_seconds if cost else 0.0)
        print(format_summary(job.name, summary, seconds, cost), flush=True)
        _write_manifest(job, summary, seconds, cost)
    return summary


def main(name: str, run: Callable[[Job], Summary], arguments: Sequence[str] | None = None) -> None:
    """Entry point of jobs/<name>.py: parse the command line, run, exit with the right code."""
    parser = argument_parser(name)
    options = parser.parse_args(arguments)
    sys.exit(guarded(lambda: run_job(Job(name, load_config(options.config, options.set)), run)))


def argument_parser(name: str) -> argparse.ArgumentParser:
    """The options every job takes."""
    parser = argparse.ArgumentParser(prog=command(name), allow_abbrev=False)
    parser.add_argument("--config", action="append", default=[], metavar="FILE",
                        help="YAML file with values that differ from the defaults; later files win")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE",
                        help="one value; wins over files")
    return parser


def guarded(work: Callable[[], object]) -> int:
    """Run `work` and turn what it raises into an exit code; prints the message or the traceback."""
    run_in_utc()
    logging.basicConfig(level=os.environ.get("PURCHASEPATH_LOG", "INFO"), stream=sys.stderr,
                        format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%SZ")
    # PySpark says so of every pandas 3; we run our tests with it
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
    for noisy in ("py4j", "alembic", "matplotlib", "urllib3", "git"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_no_retry)
    for repeating in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):  # they print, as JSON, what is raised
        logging.getLogger(repeating).setLevel(logging.CRITICAL)
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # MLflow sets its loggers' level when it is imported
    try:
        with stoppable():
            work()
    except UserError as error:
        print(f"\nerror: {plain_text(str(error), lines=True)}", file=sys.stderr, flush=True)
        return 2
    except (KeyboardInterrupt, Terminated) as stop:
        return stop_code(stop)
    except Exception as error:
        if lost_its_jvm(error):
            return stop_code(error)
        message = explain_failure(error)
        if message:
            print(f"\nerror: {message}", file=sys.stderr, flush=True)
            return 2
        traceback.print_exc()
        print("\nthis is a defect of purchasepath, not of your input; please report it with the lines above",
              file=sys.stderr, flush=True)
        return 1
    return 0


def _is_no_retry(record: logging.LogRecord) -> bool:
    """Py4J tells the root logger, with a traceback, that it makes a call again, such as after a connection to the JVM
    lay idle through a long training. What fails for good is raised."""
    return record.levelno > logging.INFO or "py4j" not in record.pathname


def format_summary(name: str, summary: Summary, seconds: float, cost: Cost | None) -> str:
    """The closing lines of a job, aligned for a terminal."""
    width = max((len(table) for table in summary.rows), default=0)
    body = [f"  {table:<{width}}  {rows:>12,} rows" for table, rows in summary.rows.items()]
    body += [f"  {plain_text(line, lines=True)}" for line in summary.lines]
    body += [f"  cost: {cost}"] if cost else []
    if summary.next:
        body.append(f"  next: {summary.next}")
    return "\n".join([f"{name}: done in {seconds:.1f} s", *body])


def _write_manifest(job: Job, summary: Summary, seconds: float, cost: Cost | None) -> None:
    directory = Path(job.config.paths.runs)
    manifest = {
        "run_id": job.run_id, "job": job.name, "version": __version__, "started_at": job.started_at.isoformat(),
        "seconds": round(seconds, 3), "rows": summary.rows, "facts": summary.lines,
        "cost": cost.facts() if cost else None, "processor_seconds": round(summary.processor_seconds, 3),
        "config": job.config.model_dump(mode="json"),
    }
    staged = directory / f".{job.run_id}.json"
    staged.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    os.replace(staged, directory / f"{job.run_id}.json")
