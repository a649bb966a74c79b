"""The evaluate job on examples small enough to rank by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from jobs.evaluate import run
from purchasepath.datasets.batch import batch_from_arrow
from purchasepath.datasets.manifest import Boundaries, Manifest
from purchasepath.errors import BundleMismatchError, ConfigError
from purchasepath.tables.catalog import CALIBRATION, METRICS
from purchasepath.tables.tasks import LABEL_NAMES
from tests.tiny_bundle import EXAMPLE_SCHEMA, example
from tests.tiny_shop import TEST, TinyShop, tiny_shop

KS = "evaluate.ks=[1,3]"
ALL = ("evaluate.baselines=[popular_7d,popular_category_7d,markov_1,markov_2,item_knn,als,logistic_regression,"
       "linear_regression]")


def metrics(job: Any) -> dict[tuple[str, str, str, int | None], Any]:
    return {(r["model"], r["task"], r["metric"], r["k"]): r for r in job.warehouse.read(METRICS).collect()}


@pytest.fixture(scope="module")
def shop(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> TinyShop:
    return tiny_shop(spark, tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def evaluated(shop: TinyShop) -> dict[tuple[str, str, str, int | None], Any]:
    job = shop.job("evaluate", KS, ALL)
    summary = run(job)
    assert summary.rows["metrics"] == len(metrics(job))
    assert summary.rows["calibration"] == job.warehouse.read(CALIBRATION).count()
    assert any("purchase roc_auc" in line for line in summary.lines)
    return metrics(job)


def model_by_hand(shop: TinyShop) -> tuple[list[int], list[set[int]], list[tuple[float, int]]]:
    """Rank of every target, the first 1 and 3 items shown anywhere, and (probability, bought) of every point."""
    model = shop.bundle.build()
    ranks, shown, points = [], [set(), set()], []
    for row in TEST:
        batch = batch_from_arrow(pa.Table.from_pylist([row], EXAMPLE_SCHEMA), 2, len(LABEL_NAMES))
        with torch.inference_mode():
            hidden_LD = model.encode(batch)[0]
            logits = model.ask("purchase", batch, hidden_LD[None])[0]
            points += zip(logits.sigmoid().tolist(), row["labels"][:: len(LABEL_NAMES)], strict=True)
            for position, target in enumerate(row["target"]):
                if target:
                    scores = model.item_scores(hidden_LD[position : position + 1])[0].tolist()
                    order = sorted(range(3, 8), key=lambda item: -scores[item])
                    ranks.append(order.index(target) + 1 if target > 2 else 99)
                    shown[0].update(order[:1])
                    shown[1].update(order[:3])
    return ranks, shown, points


def test_the_model_is_measured_on_every_target_and_point(shop: TinyShop, evaluated: dict[Any, Any]) -> None:
    ranks, shown, points = model_by_hand(shop)
    for number, k in enumerate((1, 3)):
        inside = [r for r in ranks if r <= k]
        expected = {"recall": len(inside) / 4, "ndcg": sum(1 / math.log2(1 + r) for r in inside) / 4,
                    "mrr": sum(1 / r for r in inside) / 4, "coverage": len(shown[number]) / 5}
        for metric, value in expected.items():
            assert evaluated["purchasepath", "next_item", metric, k]["value"] == pytest.approx(value), (metric, k)
    loss = -sum(math.log(p if bought else 1 - p) for p, bought in points) / 2
    assert evaluated["purchasepath", "purchase", "log_loss", None]["value"] == pytest.approx(loss, abs=1e-5)
    assert evaluated["purchasepath", "purchase", "base_rate", None]["value"] == 0.5
    assert evaluated["purchasepath", "next_item", "recall", 1]["support"] == 4
    assert evaluated["purchasepath", "purchase", "f1", None]["support"] == 2


def test_targets_without_a_history_are_measured_by_themselves(shop: TinyShop, evaluated: dict[Any, Any]) -> None:
    ranks = model_by_hand(shop)[0]  # of the targets 4, 7, unknown, 3; 7 has no history
    for k in (1, 3):
        row = evaluated["purchasepath", "cold_item", "recall", k]
        assert (row["value"], row["support"]) == ((ranks[1] <= k) / 2, 2)
        assert "no history on the train span" in row["protocol"]
        assert evaluated["popular_7d", "cold_item", "recall", k]["value"] == 0.0  # 7 is the fifth of five
    assert ("logistic_regression", "cold_item", "recall", 1) not in evaluated


def test_popularity_within_the_last_items_category(evaluated: dict[Any, Any]) -> None:
    # A 2, B 1 | C 1, E 0 | D, of no category. After A: A, B, C. After C: C, E, A. After D: A, B, C.
    # 4 after 3: rank 2; 7 after 3: 5; unknown after 5: none; 3 after 6: 1
    found = {k: evaluated["popular_category_7d", "next_item", "recall", k]["value"] for k in (1, 3)}
    assert found == {1: 0.25, 3: 0.5}
    shown = {k: evaluated["popular_category_7d", "next_item", "coverage", k]["value"] for k in (1, 3)}
    assert shown == {1: 0.4, 3: 0.8}


def test_popularity_by_category_needs_categories(shop: TinyShop) -> None:
    directory = shop.config.paths.dataset
    manifest = Manifest.load(directory)
    replace(manifest, side_features={}).save(directory)
    try:
        with pytest.raises(ConfigError, match=r"`category` among dataset\.side_features"):
            run(shop.job("evaluate", ALL))
    finally:
        manifest.save(directory)


def test_probabilities_are_measured_before_and_after_calibration(evaluated: dict[Any, Any]) -> None:
    for metric in ("log_loss", "calibration_error", "calibration_error_mass"):  # a fresh bundle is not calibrated
        names = (f"{metric}_raw", metric)
        before, after = (evaluated["purchasepath", "purchase", name, None]["value"] for name in names)
        assert before == after is not None
        assert ("logistic_regression", "purchase", f"{metric}_raw", None) not in evaluated


def test_baselines_answer_the_same_targets(evaluated: dict[Any, Any]) -> None:
    # the week before the test span: A twice (once after a search), B and C once, D and E never
    # targets 4, 7, unknown, 3 have the popular ranks 3, 5, none, 1
    popular = {k: evaluated["popular_7d", "next_item", "recall", k]["value"] for k in (1, 3)}
    assert popular == {1: 0.25, 3: 0.5}
    assert evaluated["popular_7d", "next_item", "coverage", 3]["value"] == 0.6
    # transitions 3->4 twice, 4->3 twice, 4->5 once. From 3 to 4: rank 1. From 3 to 7 (E, the search is looked
    # through): 5. From 5 to unknown: none. From 6, never left, to 3: the most popular, rank 1
    markov = {k: evaluated["markov_1", "next_item", "recall", k]["value"] for k in (1, 3)}
    assert markov == {1: 0.5, 3: 0.5}
    assert {evaluated["markov_2", "next_item", "recall", k]["support"] for k in (1, 3)} == {4}
    assert evaluated["item_knn", "next_item", "recall", 3]["support"] == 4
    assert {evaluated["als", "next_item", "recall", k]["support"] for k in (1, 3)} == {4}
    assert evaluated["als", "next_item", "coverage", 3]["value"] > 0
    assert evaluated["logistic_regression", "purchase", "roc_auc", None]["value"] == 1.0
    assert ("logistic_regression", "next_item", "recall", 1) not in evaluated
    assert ("markov_1", "purchase", "roc_auc", None) not in evaluated


def test_every_number_says_how_it_was_measured(evaluated: dict[Any, Any]) -> None:
    for row in evaluated.values():
        assert "data: simulated (synthetic)" in row["protocol"]
    assert "7 days before the test span" in evaluated["popular_7d", "next_item", "mrr", 3]["protocol"]


def test_one_class_and_no_target_leave_nulls(spark: Any, tmp_path: Path) -> None:
    shop = tiny_shop(spark, tmp_path, test=[example([3, 4], points={1: 0})])
    job = shop.job("evaluate", KS)
    run(job)
    found = metrics(job)
    for model in ("purchasepath", "logistic_regression"):
        assert found[model, "purchase", "roc_auc", None]["value"] is None
        assert found[model, "purchase", "base_rate", None]["value"] == 0.0
    for model in ("purchasepath", "popular_7d", "markov_1"):
        assert found[model, "next_item", "coverage", 1]["value"] is None
        assert found[model, "next_item", "ndcg", 3]["value"] is None


VISITORS = [{**example([3 + n % 4, 4, 3 + n % 5], targets={0: 4, 1: 3 + n % 5}, points={2: int(n % 3 == 0)},
                       features=[n / 30 - 1, (n % 3) / 2]), "visitor": 7919 * n} for n in range(60)]


@pytest.fixture(scope="module")
def visited(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> TinyShop:
    """A shop whose test split has sixty visitors."""
    return tiny_shop(spark, tmp_path_factory.mktemp("visited"), test=VISITORS)


def test_numbers_and_differences_have_intervals(visited: TinyShop) -> None:
    job = visited.job("evaluate", KS, ALL)
    summary = run(job)
    found = metrics(job)
    sure = {key: row for key, row in found.items() if row["low"] is not None}
    assert {(model, task) for model, task, _, _ in sure} >= {
        ("purchasepath", "next_item"), ("purchasepath", "purchase"), ("markov_1", "next_item"), ("als", "next_item"),
        ("logistic_regression", "purchase")}
    for key, row in sure.items():
        assert row["low"] <= row["value"] <= row["high"], key
        assert row["low"] < row["high"], key
    assert not {key for key in sure if key[2].startswith(("coverage", "calibration_error"))}
    for key, row in found.items():
        if row["baseline"] is None:
            assert row["difference"] is row["difference_low"] is row["difference_high"] is None
            continue
        assert key[0] == "purchasepath"
        others = {model: other["value"] for (model, *rest), other in found.items()
                  if rest == list(key[1:]) and model != key[0] and other["value"] is not None}
        ahead = (min if "loss" in key[2] else max)(others.values())
        assert others[row["baseline"]] == ahead
        assert row["difference"] == pytest.approx(row["value"] - ahead)
        if row["difference_low"] is not None:
            assert row["difference_low"] <= row["difference"] <= row["difference_high"]
    assert found["purchasepath", "next_item", "recall", 1]["difference_low"] is not None
    assert found["purchasepath", "purchase", "base_rate", None]["baseline"] is None
    assert any("that could not be chance" in line or " than " in line for line in summary.lines)


def test_intervals_are_the_same_on_any_number_of_partitions(spark: Any, visited: TinyShop) -> None:
    partitions, measured = spark.conf.get("spark.sql.shuffle.partitions"), []
    try:
        for number in (1, 5):
            spark.conf.set("spark.sql.shuffle.partitions", number)
            job = visited.job("evaluate", KS, "evaluate.baselines=[popular_7d,markov_1]")
            run(job)
            columns = ("value", "low", "high", "baseline", "difference_low", "difference_high")
            measured.append({key: [row[name] for name in columns] for key, row in metrics(job).items()})
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", partitions)
    assert measured[0] == measured[1]


def test_examples_of_nobody_known_have_no_intervals(evaluated: dict[Any, Any], shop: TinyShop) -> None:
    assert {row["low"] for row in evaluated.values()} == {None}
    assert any("the test span has too few visitors" in line for line in run(shop.job("evaluate", KS)).lines)


def test_a_bundle_that_may_have_seen_the_test_span_is_refused(shop: TinyShop) -> None:
    directory = shop.config.paths.dataset
    manifest = Manifest.load(directory)
    earlier = Boundaries("2024-01-08T00:00:00+00:00", "2024-01-15T00:00:00+00:00", "2024-01-22T00:00:00+00:00", 168.0)
    replace(manifest, boundaries=earlier).save(directory)
    try:
        with pytest.raises(BundleMismatchError, match="split in time"):
            run(shop.job("evaluate"))
    finally:
        manifest.save(directory)
