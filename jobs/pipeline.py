"""Every stage in order, in one Spark session: raw events in, scored tables and a report out."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from purchasepath.analyses.catalog import check_knobs
from purchasepath.config import Config, load_config
from purchasepath.job import Job, Summary, argument_parser, guarded, run_job
from purchasepath.pipeline import chosen_stages, closing_words, with_fresh_history
from purchasepath.scoring.leaderboard import format_leaderboard
from purchasepath.tables.catalog import METRICS


def load_stage(name: str) -> ModuleType:
    """The module jobs/<name>.py, which stands beside this file wherever Spark put it."""
    spec = importlib.util.spec_from_file_location(f"jobs.{name}", Path(__file__).with_name(f"{name}.py"))
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_pipeline(config: Config, stages: Sequence[str], sql_options: str) -> None:
    clock, whole = time.perf_counter(), Job("pipeline", config, stages=stages)
    summaries: dict[str, Summary] = {}
    for number, name in enumerate(stages, start=1):
        print(f"\n[{number}/{len(stages)}] {name}", flush=True)
        summaries[name] = run_job(Job(name, config, spark=whole.spark), load_stage(name).run)
    standings = format_leaderboard(whole.warehouse.read(METRICS)) if whole.warehouse.exists(METRICS) else ""
    print(closing_words(summaries, time.perf_counter() - clock, standings, config, sql_options), flush=True)


def main(arguments: Sequence[str]) -> int:
    parser = argument_parser("pipeline")
    parser.add_argument("--from", dest="first", metavar="STAGE", help="start here; earlier tables must exist")
    parser.add_argument("--to", dest="last", metavar="STAGE", help="stop after this stage")
    chosen = parser.parse_args(arguments)
    where = [f" --config {f}" for f in chosen.config]
    where += [f" --set {s}" for s in chosen.set if s.startswith("paths.warehouse")]

    def work() -> None:
        config = load_config(chosen.config, chosen.set)
        stages = chosen_stages(config, chosen.first, chosen.last)
        if "analyze" in stages:
            check_knobs(config.analyze)  # not after the training
        run_pipeline(with_fresh_history(config, stages), stages, "".join(where))

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
