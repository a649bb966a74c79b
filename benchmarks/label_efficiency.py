"""How far few labels go: purchases told by models that saw all sessions before, and by models that did not.

    python benchmarks/label_efficiency.py --dataset var/dataset [--seeds 3] [--minutes 20]
    python benchmarks/label_efficiency.py --draw

A model is pre-trained on the next items of all training sessions, without labels, once. Then, for 1 %, 10 % and 100 %
of the training examples (by a hash of their id; an example is one visitor's history, or a part of a very long one):

    scratch   a fresh model learns the labels of the sample
    full      the pre-trained model learns them with all its weights
    lora      … with its head and low-rank adapters
    frozen    … with its head alone
    trees     scikit-learn's histogram gradient boosting, on the features and the idle time
    logistic  a logistic regression on these, as which the heads above begin

It is asked twice: for a purchase within the horizon, at as-of points, where the features tell nearly all; and for a
purchase later in the running session, after every event, where there is the sequence alone (no trees, no regression).

All see the same sample, stop by the loss on the same validation examples, and are asked at every as-of point of the
test span. Seeds change weights, dropout and the sample. Results are kept as JSON and drawn from it; when the time is
up, what all ways have done counts.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "lib")]

import numpy as np  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: E402
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score  # noqa: E402

from purchasepath.config import Config, load_config  # noqa: E402
from purchasepath.datasets.batch import Batch, batch_from_rows  # noqa: E402
from purchasepath.datasets.manifest import Manifest  # noqa: E402
from purchasepath.datasets.rows import COLUMNS, Rows, rows_from_arrow  # noqa: E402
from purchasepath.models.build import PurchasePathModel  # noqa: E402
from purchasepath.models.heads import PointHead  # noqa: E402
from purchasepath.models.low_rank import merge_adapters  # noqa: E402
from purchasepath.models.tasks import asked_of  # noqa: E402
from purchasepath.storage.files import write_json  # noqa: E402
from purchasepath.tables.tasks import LABEL_NAMES  # noqa: E402
from purchasepath.training.device import keep_freed_memory  # noqa: E402
from purchasepath.training.feed import DatasetFeed  # noqa: E402
from purchasepath.training.loop import Trainer  # noqa: E402
from purchasepath.training.microbatch import split_by_length  # noqa: E402
from purchasepath.training.rank_main import build_for  # noqa: E402
from purchasepath.training.ranks import SoloRanks  # noqa: E402
from purchasepath.training.start import begin, keep_start  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "label_efficiency.json"
PLOT = ROOT / "docs" / "images" / "label_efficiency.svg"
SHARES = (0.01, 0.1, 1.0)
EPOCHS = {0.01: 24, 0.1: 12, 1.0: 4}
RATES = {"scratch": 0.004, "full": 0.001, "lora": 0.004, "frozen": 0.004}
"""Chosen on validation: the default, and a quarter of it where all pre-trained weights change."""
WAYS = {"purchase": (*RATES, "trees", "logistic"), "session": (*RATES,)}
COMMON = ("training.ranks=1", "training.patience=3")
VALID_EXAMPLES = 2048


@dataclass(frozen=True)
class Points:
    """Examples of a split that hold as-of points."""

    rows: Rows
    ids: np.ndarray

    def sample(self, share: float, seed: int) -> Points:
        """Those whose hash with the seed is among the lowest `share` of all hashes."""
        if share >= 1:
            return self
        digests = [hashlib.sha256(f"{seed}:{i}".encode()).digest()[:8] for i in self.ids]
        chosen = np.flatnonzero(np.array([int.from_bytes(d, "big") < share * 2**64 for d in digests]))
        return Points(self.rows.take(chosen), self.ids[chosen])

    @property
    def batch(self) -> Batch:
        return batch_from_rows(self.rows)


@dataclass(frozen=True)
class PointsFeed:
    """A feed from memory, for one rank."""

    train: Points
    valid: Points
    batch_size: int
    seed: int

    def steps(self, split: str) -> int:
        return max(1, -(-self._rows(split).rows // self._size(split)))

    @contextmanager
    def batches(self, split: str, epoch: int, start_step: int = 0) -> Iterator[Iterator[Rows]]:
        rows, size = self._rows(split), self._size(split)
        order = np.arange(rows.rows)
        if split == "train":
            order = np.random.default_rng((self.seed, epoch)).permutation(order)
        steps = range(start_step, self.steps(split))
        yield (rows.take(order[step * size : (step + 1) * size]) for step in steps)

    def _rows(self, split: str) -> Rows:
        return (self.train if split == "train" else self.valid).rows

    def _size(self, split: str) -> int:
        return self.batch_size if split == "train" else 512


def load_points(directory: Path, manifest: Manifest, split: str) -> Points:
    files = sorted({group.file for group in manifest.splits[split]})
    columns = ["example_id", *COLUMNS]
    table = pq.ParquetDataset([str(directory / file) for file in files]).read(columns=columns).combine_chunks()
    rows = rows_from_arrow(table, manifest.num_features, len(manifest.label_names))
    asked = np.flatnonzero(rows.count_B)
    return Points(rows.take(asked), table["example_id"].to_numpy()[asked])


def pre_train(directory: Path, manifest: Manifest, workspace: Path, epochs: int) -> dict[str, float]:
    """Leaves the weights of a model of next items in the workspace."""
    config = load_config([], [*COMMON, f"training.epochs={epochs}", "training.valid_examples=1024",
                              "model.tasks=[item]"])
    torch.manual_seed(config.training.seed)
    model = build_for(manifest, config.model)
    feed = DatasetFeed(directory, manifest, SoloRanks(), config.training)
    state = Trainer(model, feed, SoloRanks(), config.training, report=print).fit()
    save_file(model.state_dict(), workspace / "pretrained.safetensors")
    keep_start(workspace, workspace / "pretrained.safetensors")
    return state.curves[state.best_epoch - 1]


def configure(way: str, share: float, seed: int, question: str) -> Config:
    tune = way if way in ("frozen", "lora") else "full"
    return load_config([], [
        *COMMON, f"model.tasks=[{question}]", f"training.tune={tune}", f"training.learning_rate={RATES[way]}",
        f"training.epochs={EPOCHS[share]}", f"training.seed={seed}",
    ])


def learn(
    way: str, share: float, seed: int, splits: dict[str, Points], manifest: Manifest, workspace: Path, question: str
) -> Any:
    """Test probabilities of a model that learned the sample."""
    config = configure(way, share, seed, question)
    torch.manual_seed(seed)
    model = build_for(manifest, config.model)
    feed = PointsFeed(splits["train"].sample(share, seed), splits["valid"], config.training.batch_size, seed)
    begin(model, None if way == "scratch" else workspace, config.training, feed, SoloRanks())
    Trainer(model, feed, SoloRanks(), config.training).fit()
    merge_adapters(model)
    return ask(model, splits["test"], question)


def ask(model: PurchasePathModel, test: Points, question: str) -> tuple[np.ndarray, np.ndarray]:
    """(probability, bought) at every place where the question is asked."""
    probabilities, bought = [], []
    with torch.inference_mode():
        for part in split_by_length(test.rows, 1 << 13):
            logit_P, bought_P = model.eval().ask(question, part, model.encode(part))
            probabilities.append(torch.sigmoid(logit_P))
            bought.append(bought_P)
    return torch.cat(probabilities).numpy(), torch.cat(bought).numpy()


def boost(share: float, seed: int, splits: dict[str, Points]) -> tuple[np.ndarray, np.ndarray]:
    """Test probabilities of trees; as many of them as are best on validation."""
    (x, y), (valid_x, valid_y), (test_x, test_y) = (known(p) for p in (
        splits["train"].sample(share, seed), splits["valid"], splits["test"]))
    trees = HistGradientBoostingClassifier(max_iter=200, learning_rate=0.05, max_leaf_nodes=15, early_stopping=False,
                                           min_samples_leaf=min(20, max(2, len(y) // 50)), random_state=seed).fit(x, y)
    losses = [log_loss(valid_y, p[:, 1], labels=[0, 1]) for p in trees.staged_predict_proba(valid_x)]
    best = int(np.argmin(losses))
    *_, probability = (p for _, p in zip(range(best + 1), trees.staged_predict_proba(test_x), strict=False))
    return probability[:, 1], test_y


def regress(share: float, seed: int, splits: dict[str, Points], manifest: Manifest) -> tuple[np.ndarray, np.ndarray]:
    """Test probabilities of the logistic regression as which heads at as-of points begin."""
    config = configure("scratch", share, seed, "purchase")
    model = build_for(manifest, config.model)
    feed = PointsFeed(splits["train"].sample(share, seed), splits["valid"], config.training.batch_size, seed)
    begin(model, None, config.training, feed, SoloRanks())
    return ask(model, splits["test"], "purchase")


def known(points: Points) -> tuple[np.ndarray, np.ndarray]:
    batch = points.batch
    bought_P = batch.labels_PT[:, LABEL_NAMES.index("purchase")]
    return PointHead.known(batch.idle_P, batch.features_PF).numpy(), bought_P.numpy()


def measure(
    question: str, way: str, share: float, seed: int, splits: dict[str, Points], manifest: Manifest, work: Path
) -> dict[str, Any]:
    started = time.perf_counter(), time.process_time()
    if way == "trees":
        probability, bought = boost(share, seed, splits)
    elif way == "logistic":
        probability, bought = regress(share, seed, splits, manifest)
    else:
        probability, bought = learn(way, share, seed, splits, manifest, work, question)
    return {
        "question": question, "way": way, "share": share, "seed": seed,
        "labels": asked_of(question, manifest.label_names).count(splits["train"].sample(share, seed).rows),
        "asked": len(bought),
        "base_rate": float(bought.mean()), "roc_auc": float(roc_auc_score(bought, probability)),
        "pr_auc": float(average_precision_score(bought, probability)),
        "log_loss": float(log_loss(bought, probability.astype(float), labels=[0, 1])),
        "seconds": round(time.perf_counter() - started[0], 1),
        "cpu_seconds": round(time.process_time() - started[1], 1),
    }


def summarize(runs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Mean and range over seeds, by question, way and share."""
    for question, ways in WAYS.items():
        for way, share in itertools.product(ways, SHARES):
            found = [r for r in runs if (r["question"], r["way"], r["share"]) == (question, way, share)]
            if found:
                yield {"question": question, "way": way, "share": share, "seeds": len(found)} | {
                    metric: [float(f([run[metric] for run in found])) for f in (np.mean, min, max)]
                    for metric in ("roc_auc", "pr_auc", "log_loss")
                }


def draw(runs: list[dict[str, Any]]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "label efficiency"  # the same figures give the same file
    from matplotlib import pyplot

    titles = {"purchase": "purchase within the horizon", "session": "purchase later in the session"}
    figure, grid = pyplot.subplots(2, 2, figsize=(10, 7), layout="constrained", sharex=True)
    for axes, (question, ways) in zip(grid, WAYS.items(), strict=True):
        for axis, metric, name in zip(axes, ("roc_auc", "pr_auc"), ("ROC-AUC", "PR-AUC"), strict=True):
            for way in ways:
                rows = [row for row in summarize(runs) if (row["question"], row["way"]) == (question, way)]
                mean, low, high = zip(*(row[metric] for row in rows), strict=True)
                x = [100 * row["share"] for row in rows]
                (line,) = axis.plot(x, mean, marker="o", label=way)
                axis.fill_between(x, low, high, alpha=0.12, color=line.get_color())
            axis.set(xscale="log", xticks=[1, 10, 100], xticklabels=["1 %", "10 %", "100 %"],
                     title=f"{name}, {titles[question]}")
            axis.grid(alpha=0.3)
        axes[1].axhline(np.mean([r["base_rate"] for r in runs if r["question"] == question]), color="grey",
                        linestyle=":", label="everybody alike")
        axes[1].legend(fontsize=8)
    figure.supxlabel("share of the labels")
    figure.suptitle("Test span of the generated shop (synthetic): mean and range over seeds")
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOT, metadata={"Date": None})


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--dataset", default="var/dataset", help="a dataset directory, as the dataset stage leaves it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=20.0, help="no run begins later than this")
    parser.add_argument("--pretrain-epochs", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--draw", action="store_true", help="only draw the kept results")
    return parser


def main() -> None:
    options = arguments().parse_args()
    if not options.draw:
        run(options)
    kept = json.loads(RESULTS.read_text(encoding="utf-8"))
    draw(kept["runs"])
    for row in summarize(kept["runs"]):
        auc, pr_auc, loss = (row[metric][0] for metric in ("roc_auc", "pr_auc", "log_loss"))
        print(f"{row['question']:<9}{row['way']:<9}{100 * row['share']:>4.0f} %  seeds {row['seeds']}  "
              f"ROC-AUC {auc:.4f}  PR-AUC {pr_auc:.4f}  log loss {loss:.4f}")


def run(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    started, directory = time.monotonic(), Path(options.dataset)
    manifest = Manifest.load(directory)
    splits = {split: load_points(directory, manifest, split) for split in ("train", "valid", "test")}
    splits["valid"] = Points(splits["valid"].rows.slice(0, VALID_EXAMPLES), splits["valid"].ids[:VALID_EXAMPLES])
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        pre_trained = pre_train(directory, manifest, Path(scratch), options.pretrain_epochs)
        for seed in range(options.seeds):
            for share in SHARES:
                for question, way in ((q, way) for q, ways in WAYS.items() for way in ways):
                    if time.monotonic() - started > 60 * options.minutes:
                        return
                    runs.append(measure(question, way, share, seed, splits, manifest, Path(scratch)))
                    print(runs[-1], flush=True)
                write_json(RESULTS, {
                    "data": f"{manifest.source}{' (synthetic)' if manifest.source == 'simulated' else ''}",
                    "pre_trained": pre_trained,
                    "machine": {"cpus": os.cpu_count(), "threads": options.threads, "platform": platform.platform(),
                                "torch": torch.__version__},
                    "rates": RATES, "epochs": {str(k): v for k, v in EPOCHS.items()}, "runs": runs,
                })


if __name__ == "__main__":
    main()
