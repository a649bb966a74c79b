"""Every stage in order, in one Spark session: raw events in, scored tables and a report out."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from purchasepath.config import Config, load_config
from purchasepath.errors import ConfigError, nearest
from purchasepath.job import Job, argument_parser, guarded, run_job
from purchasepath.scoring.standings import format_standings
from purchasepath.tables.catalog import METRICS

STAGES = ("simulate", "ingest", "sessionize", "features", "dataset", "train", "evaluate", "score", "analyze", "report")


def load_stage(name: str) -> ModuleType:
    """The module jobs/<name>.py, which stands beside this file wherever Spark put it."""
    spec = importlib.util.spec_from_file_location(f"jobs.{name}", Path(__file__).with_name(f"{name}.py"))
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def chosen_stages(config: Config, first: str | None, last: str | None) -> tuple[str, ...]:
    """Stages from `first` to `last`; a shop is only simulated when simulated events are asked for."""
    for name in (first, last):
        if name is not None and name not in STAGES:
            raise ConfigError([f"unknown stage `{name}`{nearest(name, STAGES)}"])
    chosen = STAGES[STAGES.index(first or STAGES[0]) : STAGES.index(last or STAGES[-1]) + 1]
    return tuple(s for s in chosen if s != "simulate" or config.ingest.source == "simulated")


def run_pipeline(config: Config, stages: Sequence[str], options: str) -> None:
    clock = time.perf_counter()
    session = Job("pipeline", config).spark
    rows: dict[str, int] = {}
    for number, name in enumerate(stages, start=1):
        print(f"\n[{number}/{len(stages)}] {name}", flush=True)
        rows |= run_job(Job(name, config, spark=session), load_stage(name).run).rows
    minutes, seconds = divmod(round(time.perf_counter() - clock), 60)
    print(f"\npipeline: {len(stages)} stages in {minutes} min {seconds} s")
    print("\n".join(f"  {table:<18} {count:>12,} rows" for table, count in rows.items()))
    warehouse = Job("pipeline", config, spark=session).warehouse
    if warehouse.exists(METRICS):
        print("\n" + format_standings(warehouse.read(METRICS)))
    print(closing_words(config, options))


def closing_words(config: Config, options: str) -> str:
    """Where the report is, and queries worth trying."""
    sql = f"./spark-submit.sh sql{options}"
    return f"""
report: {Path(config.paths.report).absolute()}
try:
  {sql} "select step, sessions, round(drop_off, 3) as drop_off from funnel where dimension = 'all' order by step_number"
  {sql} "select user_id, purchase_probability from scores order by purchase_probability desc limit 10"
  {sql} "select item_id, count(*) as users from recommendations where rank = 1 group by item_id order by users desc limit 10"
"""


def main(arguments: Sequence[str]) -> int:
    parser = argument_parser("pipeline")
    parser.add_argument("--from", dest="first", metavar="STAGE", help="start here; earlier tables must exist")
    parser.add_argument("--to", dest="last", metavar="STAGE", help="stop after this stage")
    chosen = parser.parse_args(arguments)
    options = "".join([f" --config {f}" for f in chosen.config] + [f" --set {s}" for s in chosen.set if "paths.warehouse" in s])

    def work() -> None:
        config = load_config(chosen.config, chosen.set)
        run_pipeline(config, chosen_stages(config, chosen.first, chosen.last), options)

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
