"""Our model on public data under published protocols, beside the published lines.

    python benchmarks/published.py --data <directory> [set …] [--seeds 3] [--set training.epochs=10]

`<directory>` holds the public files under the names in `literature/sets.py`. Each set is trained with the recipe
below, chosen on validation. The best epoch is asked the test once, at the end: after the last epoch, when patience or
`--minutes` is up, or on SIGTERM. Where the published models learn from the validation sessions too, so does ours, in a
second training as long as the best epoch of the first. A run that was killed goes on from its checkpoint in `--work`.
Results are kept as JSON in benchmarks/results.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "lib")]

from benchmarks.literature.feed import MemoryFeed  # noqa: E402
from benchmarks.literature.lines import PUBLISHED, shown_metrics  # noqa: E402
from benchmarks.literature.ranking import answer  # noqa: E402
from benchmarks.literature.sets import PublishedSet, load  # noqa: E402
from purchasepath.config import Config, load_config  # noqa: E402
from purchasepath.models.build import PurchasePathModel, build_model, count_parameters  # noqa: E402
from purchasepath.storage.files import sha256_json, write_json  # noqa: E402
from purchasepath.training.checkpoint import Checkpoints  # noqa: E402
from purchasepath.training.loop import Trainer  # noqa: E402
from purchasepath.training.ranks import SoloRanks  # noqa: E402
from purchasepath.training.validation import validate  # noqa: E402

COMMON = ("model.tasks=[item]", "training.ranks=1", "training.select_by=ndcg", "training.patience=8",
          "training.valid_examples=10000")
_AMAZON = ("dataset.max_length=50", "model.encoder=sasrec", "model.width=128", "model.layers=1", "model.heads=1",
           "model.feed_forward=1", "model.dropout=0.3", "training.epochs=16", "training.batch_size=128",
           "training.learning_rate=0.002", "training.negatives=1024")
RECIPES: Mapping[str, tuple[str, ...]] = {
    "s3rec-beauty": (*_AMAZON, "training.epochs=14", "training.negatives=4096"),
    "s3rec-toys": _AMAZON,
    "diginetica": ("dataset.max_length=20", "model.dropout=0.3", "training.epochs=6", "training.batch_size=512",
                   "training.learning_rate=0.0015", "training.negatives=2048"),
    "beauty": (*_AMAZON, "training.epochs=8", "training.negatives=16384"),
    "ml-1m": ("dataset.max_length=200", "training.epochs=12", "training.batch_size=32",
              "training.learning_rate=0.003"),
}


class OutOfTimeError(Exception):
    """The run's time is up, or somebody asked it to end."""


@dataclass
class Progress:
    """Prints what the trainer reports, and ends the run when its time is up."""

    deadline: float
    started: float = field(default_factory=time.monotonic)
    stopped: bool = False

    def __call__(self, line: str) -> None:
        print(f"{time.monotonic() - self.started:7.0f} s  {line}", flush=True)
        if self.stopped or time.monotonic() > self.deadline:
            raise OutOfTimeError

    def stop(self, *_: object) -> None:
        self.stopped = True


def main(arguments: list[str] | None = None) -> None:
    options = _parse(arguments)
    if options.data is None:
        print("published: no public data; give --data <directory>")
        return
    for name in options.sets or RECIPES:
        result = run_seeds(name, options)
        file = ROOT / "benchmarks" / "results" / f"published-{name}-{result['label'].replace(' ', '-')}.json"
        write_json(file, result)
        print("\n".join(table(name, [result])), flush=True)


def run_seeds(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """A run with the recipe's seed; of several seeds the first one's, with the mean and half the range of all."""
    recipe = [*COMMON, *RECIPES[name], *options.overrides]
    first = load_config([], recipe).training.seed
    seeds = range(first, first + options.seeds)
    runs = [run(name, load_config([], [*recipe, f"training.seed={seed}"]), options) for seed in seeds]
    if len(runs) == 1:
        return runs[0]
    each = {metric: [done["metrics"][metric] for done in runs] for metric in runs[0]["metrics"]}
    return runs[0] | {
        "metrics": {metric: sum(values) / len(values) for metric, values in each.items()},
        "spread": {metric: (max(values) - min(values)) / 2 for metric, values in each.items()},
        "seeds": [{"seed": seed, "best_epoch": done["best_epoch"], "metrics": done["metrics"]}
                  for seed, done in zip(seeds, runs, strict=True)],
    }


def run(name: str, config: Config, options: argparse.Namespace) -> dict[str, Any]:
    """Trains and asks the test; the result as a JSON value."""
    published = load(name, options.data, config.dataset.max_length)
    started, used = time.monotonic(), time.process_time()
    trainer = _train(name, published, config, options)
    state = trainer.state
    if published.learns_valid:
        whole = replace(published, train=[*published.train, *published.valid])
        chosen = config.training.model_copy(update={"epochs": state.best_epoch})
        trainer = _train(name, whole, config.model_copy(update={"training": chosen}), options)
    model = trainer.model
    seconds, processor_seconds = time.monotonic() - started, time.process_time() - used
    return {
        "set": name,
        "protocol": published.protocol,
        "label": options.label or config.model.encoder,
        "metrics": answer(model, published),
        "validation": state.curves[state.best_epoch - 1],
        "best_epoch": state.best_epoch,
        "epochs": state.epoch,
        "training_seconds": round(seconds, 1),  # since the start or the last resumption
        "processor_seconds": round(processor_seconds, 1),
        "parameters": count_parameters(model),
        "config": {part: getattr(config, part).model_dump(mode="json") for part in ("dataset", "model", "training")},
        "machine": {"cpus": os.cpu_count(), "threads": torch.get_num_threads(), "processor": _processor(),
                    "torch": torch.__version__},
        "curves": state.curves,
    }


def _train(name: str, published: PublishedSet, config: Config, options: argparse.Namespace) -> Trainer:
    """The trainer of a fresh model after its last epoch; the model holds the best one's weights."""
    torch.manual_seed(config.training.seed)
    model = build_model(
        config.model, num_items=published.num_items, num_types=2, num_features=0, max_length=config.dataset.max_length
    )
    learned = {"set": name, "examples": len(published.train), "model": config.model.model_dump(),
               "training": config.training.model_dump()}
    fingerprint = sha256_json(learned | {"max_length": config.dataset.max_length})
    progress = Progress(deadline=time.monotonic() + options.minutes * 60)
    signal.signal(signal.SIGTERM, progress.stop)
    every = max(1, len(published.valid) // config.training.valid_examples)
    feed = MemoryFeed(published.train, published.valid[::every], config.training.batch_size, config.training.seed)
    asked = replace(published, test=published.asked[::every])
    checkpoints = Checkpoints(options.work / fingerprint[:16], fingerprint) if options.work else None
    trainer = Trainer(model, feed, SoloRanks(), config.training, checkpoints=checkpoints, report=progress,
                      validation=partial(validate_as_asked, asked))
    try:
        trainer.fit()
    except OutOfTimeError:
        model.load_state_dict(trainer.best)
    return trainer


def validate_as_asked(asked: PublishedSet, model: PurchasePathModel, *where: Any) -> dict[str, float]:
    """As in every training, but ranked as the test will be: what was seen is no answer."""
    measured = validate(model, *where)
    ranking = answer(model, asked) if asked.filter_seen else {}
    return measured | {name.replace("@", "_"): value for name, value in ranking.items()}


def table(name: str, results: Iterable[Mapping[str, Any]]) -> list[str]:
    """Markdown: the published lines of a set, then ours; of several seeds the mean ± half their range."""
    metrics = shown_metrics(name)
    lines = [f"| {name} | {' | '.join(metrics)} |", "|---" * (1 + len(metrics)) + "|"]
    lines += [f"| {line.system} | {' | '.join(line.shown(m) for m in metrics)} |" for line in PUBLISHED[name]]
    for result in results:
        spread = {metric: f" ± {half:.4f}" for metric, half in result.get("spread", {}).items()}
        ours = " | ".join(f"**{result['metrics'][metric]:.4f}**{spread.get(metric, '')}" for metric in metrics)
        lines.append(f"| Purchasepath, {result['label']}, epoch {result['best_epoch']} | {ours} |")
    return lines


def _processor() -> str:
    """The processor's name as Linux tells it."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text(encoding="utf-8").splitlines() if known.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="set", help=f"{', '.join(RECIPES)}; all by default")
    parser.add_argument("--data", type=Path, help="directory of the public files")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="section.key=value")
    parser.add_argument("--seeds", type=int, default=1, help="runs that differ in training.seed alone")
    parser.add_argument("--label", help="name of the run in table and result file; the encoder's by default")
    parser.add_argument("--minutes", type=float, default=1e6, help="training ends after the epoch that passes this")
    parser.add_argument("--work", type=Path, help="directory of checkpoints; none are written without it")
    options = parser.parse_args(arguments)
    if unknown := set(options.sets) - RECIPES.keys():
        parser.error(f"unknown set {', '.join(sorted(unknown))}; known are {', '.join(RECIPES)}")
    return options


if __name__ == "__main__":
    main()
