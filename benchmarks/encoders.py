"""A line per encoder: each trained with the same budget and asked the same test, beside every baseline.

    python benchmarks/encoders.py [simulated] [retailrocket] [--encoders gru lstm] [--seeds 3] [--minutes 25]
                                  [--work <directory>]

`simulated` is the shop that `simulate` makes; `retailrocket` is RetailRocket's public log, whose events.csv(.gz) is
found by --retailrocket or below the directory that PURCHASEPATH_SHARED_DATA names. Both go through the stages of the
pipeline and are split in time; the whole catalogue is ranked, nothing is filtered, ties count against a line. Only
`model.encoder` and `training.seed` differ between runs. When the time is up, no further run begins. A dataset that
an earlier call left in --work is used as it is. Results are kept as JSON in benchmarks/results; with --encoders, lines
of the others stay there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "lib")]

import torch  # noqa: E402
from pyspark.sql import SparkSession  # noqa: E402

from jobs import evaluate, train  # noqa: E402
from jobs.pipeline import run_pipeline  # noqa: E402
from purchasepath.bundle.bundle import Bundle  # noqa: E402
from purchasepath.bundle.registry import resolve  # noqa: E402
from purchasepath.config import Config, Evaluate, Paths, load_config  # noqa: E402
from purchasepath.datasets.manifest import FILE_NAME  # noqa: E402
from purchasepath.job import Job  # noqa: E402
from purchasepath.models.build import count_parameters  # noqa: E402
from purchasepath.models.encoders import ENCODERS  # noqa: E402
from purchasepath.pipeline import chosen_stages, with_fresh_history  # noqa: E402
from purchasepath.scoring.metric_rows import OURS  # noqa: E402
from purchasepath.storage.files import write_json  # noqa: E402
from purchasepath.storage.session import build_session  # noqa: E402
from purchasepath.tables.catalog import METRICS  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
SHOPS: Mapping[str, tuple[str, ...]] = {"simulated": (), "retailrocket": (str(ROOT / "conf" / "retailrocket.yaml"),)}
BASELINES = get_args(get_args(Evaluate.model_fields["baselines"].annotation)[0])
POPULAR, POPULAR_IN_CATEGORY = "popular_7d", "popular_category_7d"
METRIC_NAMES = {
    "recall@10": ("next_item", "recall", 10), "ndcg@10": ("next_item", "ndcg", 10), "mrr@10": ("next_item", "mrr", 10),
    "coverage@10": ("next_item", "coverage", 10), "roc_auc": ("purchase", "roc_auc", None),
    "pr_auc": ("purchase", "pr_auc", None), "log_loss": ("purchase", "log_loss", None),
}
SHARED_DATA = "PURCHASEPATH_SHARED_DATA"


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parse(arguments)
    deadline = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as scratch:
        for shop in options.shops:
            if shop == "retailrocket" and not (options.retailrocket and options.retailrocket.exists()):
                print(f"encoders: no retailrocket log; give --retailrocket <events.csv>, or set {SHARED_DATA}")
                continue
            result = run(shop, options.work or Path(scratch), options, deadline)
            print("\n".join(table(result["runs"])), flush=True)


def run(shop: str, work: Path, options: argparse.Namespace, deadline: float) -> dict[str, Any]:
    """Every line's runs; kept after each of them."""
    config = configure(shop, work, options)
    spark = build_session("encoders", config, master="local[*]")
    if not (Path(config.paths.dataset) / FILE_NAME).exists():
        stages = chosen_stages(config, None, "dataset")
        run_pipeline(with_fresh_history(config, stages), stages, "")
    result: dict[str, Any] = {
        "shop": shop + (" (synthetic)" if shop == "simulated" else ""),
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform(), "torch": torch.__version__},
        "config": {part: getattr(config, part).model_dump(mode="json") for part in ("dataset", "model", "training")},
        "runs": earlier_runs(shop, options.encoders),
    }
    for seed in range(config.training.seed, config.training.seed + options.seeds):
        for encoder in options.encoders:
            if time.monotonic() > deadline:
                return result
            changed = configure(shop, work, options, f"model.encoder={encoder}", f"training.seed={seed}",
                                f"evaluate.baselines=[{'' if result['runs'] else ','.join(baselines_of(config))}]")
            result["runs"] += train_and_ask(encoder, seed, changed, spark)
            write_json(RESULTS / f"encoders-{shop}.json", result)
            print(json.dumps(result["runs"][-1]), flush=True)
    return result


def earlier_runs(shop: str, encoders: Sequence[str]) -> list[dict[str, Any]]:
    """What the results tell of other encoders and of baselines; nothing where all are asked again."""
    file = RESULTS / f"encoders-{shop}.json"
    if set(encoders) == set(ENCODERS) or not file.exists():
        return []
    return [run for run in json.loads(file.read_text(encoding="utf-8"))["runs"] if run["line"] not in encoders]


def baselines_of(config: Config) -> list[str]:
    """All that the dataset can answer."""
    has_category = "category" in config.dataset.side_features
    return [name for name in BASELINES if has_category or name != POPULAR_IN_CATEGORY]


def train_and_ask(encoder: str, seed: int, config: Config, spark: SparkSession) -> Iterator[dict[str, Any]]:
    """The runs of the configured baselines, and then the encoder's."""
    started = time.perf_counter()
    train.run(Job("train", config, spark=spark))
    seconds = time.perf_counter() - started
    job = Job("evaluate", config, spark=spark)
    evaluate.run(job)
    metrics = {(r.model, r.task, r.metric, r.k): r.value for r in job.warehouse.read(METRICS).collect()}
    for baseline in config.evaluate.baselines:
        yield {"line": baseline, "seed": None, "metrics": _of(baseline, metrics)}
    bundle = Bundle.load(resolve("latest", config))
    yield {
        "line": encoder, "seed": seed, "metrics": _of(OURS, metrics), "training_seconds": round(seconds, 1),
        "best_epoch": int(bundle.metrics["epoch"]), "parameters": count_parameters(bundle.build()),
    }


def _of(model: str, metrics: Mapping[tuple[str, str, str, int | None], float | None]) -> dict[str, float | None]:
    return {name: metrics.get((model, *key)) for name, key in METRIC_NAMES.items()}


def table(runs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Markdown: a line each with means over seeds, ± half their range; popular items' NDCG@10 beside each."""
    by_line: dict[str, list[Mapping[str, Any]]] = {}
    for done in runs:
        by_line.setdefault(done["line"], []).append(done)
    popular = by_line[POPULAR][0]["metrics"]["ndcg@10"] if POPULAR in by_line else None
    lines = [f"| | seeds | {' | '.join(METRIC_NAMES)} | {POPULAR}'s ndcg@10 |", "|---" * (len(METRIC_NAMES) + 3) + "|"]
    for line, found in sorted(by_line.items(), key=lambda pair: pair[0] not in ENCODERS):
        cells = {name: [done["metrics"][name] for done in found] for name in METRIC_NAMES}
        ndcg = cells["ndcg@10"][0]
        beside = f"{popular:.4f}" if popular and ndcg is not None else ""
        seeds = str(len(found)) if line in ENCODERS else ""
        lines.append(f"| {line} | {seeds} | {' | '.join(_shown(values) for values in cells.values())} | {beside} |")
    return lines


def _shown(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    spread = f" ± {(max(known) - min(known)) / 2:.4f}" if len(known) > 1 else ""
    return f"{sum(known) / len(known):.4f}{spread}"


def configure(shop: str, work: Path, options: argparse.Namespace, *overrides: str) -> Config:
    """The shop's configuration, with every output below `work`."""
    place = (work / shop).resolve()
    paths = [f"paths.{name}={place / name}" for name in Paths.model_fields]
    if shop == "retailrocket":
        paths.append(f"paths.raw={options.retailrocket}")
    tracking = [f"tracking.uri=sqlite:///{place}/mlflow.db", f"tracking.artifacts={place}/mlartifacts"]
    key = f"ingest.pseudonym_key_file={place}/pseudonym.key"
    return load_config(SHOPS[shop], [*paths, *tracking, key, *options.overrides, *overrides])


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    shared = os.environ.get(SHARED_DATA)
    log = Path(shared) / "events" / "retailrocket" / "events.csv.gz" if shared else None
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shops", nargs="*", metavar="shop", help=f"{', '.join(SHOPS)}; all by default")
    parser.add_argument("--retailrocket", type=Path, default=log, metavar="FILE", help="RetailRocket's events.csv(.gz)")
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=list(ENCODERS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=25.0, help="no run begins later than this")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="section.key=value")
    parser.add_argument("--work", type=Path, help="directory of datasets and bundles, kept; a temporary one by default")
    options = parser.parse_args(arguments)
    if unknown := set(options.shops) - SHOPS.keys():
        parser.error(f"unknown shop {', '.join(sorted(unknown))}; known are {', '.join(SHOPS)}")
    options.shops = options.shops or list(SHOPS)
    return options


if __name__ == "__main__":
    main()
