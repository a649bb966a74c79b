"""The whole path on a tiny shop: raw events in, scored tables and a report out."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pyspark.sql.functions as F
import pytest
from pyspark.sql import SparkSession

from jobs.pipeline import load_stage
from purchasepath.analyses.catalog import ALL_TABLES
from purchasepath.bundle.bundle import Bundle
from purchasepath.bundle.registry import resolve
from purchasepath.config import Config, load_config
from purchasepath.datasets.manifest import FIRST_ITEM, Manifest
from purchasepath.errors import ConfigError
from purchasepath.job import Job, Summary, run_job
from purchasepath.pipeline import chosen_stages, closing_words, with_fresh_history
from purchasepath.scoring.evaluation import read_examples
from purchasepath.scoring.leaderboard import format_leaderboard
from purchasepath.stages import PIPELINE
from purchasepath.storage import open_warehouse
from purchasepath.storage.query import run_query
from purchasepath.tables.catalog import (
    CALIBRATION,
    METRICS,
    RECOMMENDATIONS,
    SCORES,
    SESSIONS,
    TRAINING_CURVES,
    USER_KEYS,
)
from tests.golden import compare, facts_of, facts_of_bundle

ASKED = ("purchase", "churn", "value")
"""Tasks at as-of times that the default model learns."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    root = tmp_path_factory.mktemp("shop")
    (root / "key").touch(mode=0o600)
    (root / "key").write_text("a key that every run has, as pseudonyms order what ties")
    return load_config([], [
        "simulate.users=150", "simulate.days=28", "training.ranks=1", "training.epochs=1", "dataset.rows_per_group=64",
        "model.width=16", "model.layers=1", f"tracking.uri=sqlite:///{root}/mlflow.db",
        f"tracking.artifacts={root}/artifacts", f"ingest.pseudonym_key_file={root}/key",
        *(f"paths.{name}={root}/{name}" for name in ("raw", "warehouse", "dataset", "models", "runs")),
        f"paths.report={root}/report.html", "dataset.side_features=[category,brand,price,vector]",
        f"paths.items={root}/raw/catalogue",
    ])


@pytest.fixture(scope="module")
def rows(spark: SparkSession, config: Config) -> Iterator[dict[str, int]]:
    """Rows that each stage says it wrote."""
    written: dict[str, int] = {}
    for name in PIPELINE:
        written |= run_job(Job(name, config, spark=spark), load_stage(name).run).rows
    yield written
    spark.sql("USE default")
    spark.sql(f"DROP DATABASE IF EXISTS {config.warehouse.database} CASCADE")


@pytest.fixture
def warehouse(spark: SparkSession, config: Config, rows: dict[str, int]) -> Any:
    return open_warehouse(spark, config)


def test_every_declared_table_is_written_and_holds_what_the_summary_says(warehouse: Any, rows: dict[str, int]) -> None:
    assert set(warehouse.register(list(ALL_TABLES))) == {t.name for t in ALL_TABLES if t.written_by in PIPELINE}
    for table in (SESSIONS, SCORES, METRICS):
        assert warehouse.read(table).count() == rows[table.name] > 0


def test_every_table_and_weight_is_what_it_was(
    spark: SparkSession, config: Config, warehouse: Any, rows: dict[str, int]
) -> None:
    learned = ("weights", *(t.name for t in (SCORES, RECOMMENDATIONS, METRICS, CALIBRATION, TRAINING_CURVES)))
    dataset = Manifest.load(config.paths.dataset)
    found = {t.name: facts_of(warehouse.read(t), learned=t.name in learned) for t in ALL_TABLES if warehouse.exists(t)}
    speed = F.col("metric").endswith("_per_s")
    found[TRAINING_CURVES.name] = facts_of(warehouse.read(TRAINING_CURVES).where(~speed), learned=True)
    for split in dataset.splits:
        found[f"examples of {split}"] = facts_of(read_examples(spark, config.paths.dataset, dataset, split))
    found["weights"] = facts_of_bundle(Bundle.load(resolve("latest", config)))
    compare("pipeline", found, learned)


def test_the_shop_s_own_ids_are_in_user_keys_and_in_no_other_file(config: Config, warehouse: Any) -> None:
    ids = re.compile(rb"\b(v|account-)\d{8}\b")
    known = [raw_id for (raw_id,) in warehouse.read(USER_KEYS).select("raw_id").collect()]
    assert len(known) > 150
    assert all(ids.fullmatch(raw_id.encode()) for raw_id in known)
    root, found = Path(config.paths.report).parent, set()
    for file in root.rglob("*"):
        place = file.relative_to(root)
        if file.is_file() and place.parts[0] != "raw" and USER_KEYS.name not in place.parts:
            content = repr(pq.read_table(file).to_pylist()).encode() if file.suffix == ".parquet" else file.read_bytes()
            found |= {place} if ids.search(content) else set()
    assert found == set()


def test_everybody_is_scored_once_with_ranked_items(warehouse: Any) -> None:
    users = warehouse.read(SESSIONS).select("user_id").distinct()
    scores = warehouse.read(SCORES)
    assert scores.count() == scores.select("entity_id", "task").distinct().count() == users.count() * len(ASKED)
    assert {row.task for row in scores.select("task").distinct().collect()} == set(ASKED)
    assert scores.join(users, on=F.col("entity_id") == F.col("user_id"), how="left_anti").isEmpty()
    best = warehouse.read(RECOMMENDATIONS).where("rank = 1")
    assert best.count() == users.count()


def test_the_whole_catalogue_may_be_recommended_and_items_without_a_history_are_measured(
    config: Config, warehouse: Any
) -> None:
    manifest = Manifest.load(config.paths.dataset)
    assert manifest.num_items == FIRST_ITEM + config.simulate.items
    assert 0 < manifest.num_cold < config.simulate.items
    measured = warehouse.read(METRICS).where("task = 'cold_item' and model = 'purchasepath'")
    assert measured.where("support > 0 and value is not null").count() == measured.count() > 0


def test_the_model_stands_beside_its_baselines_and_the_report_shows_them(config: Config, warehouse: Any) -> None:
    standings = format_leaderboard(warehouse.read(METRICS))
    report = Path(config.paths.report).read_text(encoding="utf-8")
    for model in ("purchasepath", "popular_7d", "markov_1", "als", "logistic_regression"):
        assert model in standings
    assert "SYNTHETIC" in report
    words = closing_words({"score": Summary({"scores": 7}, processor_seconds=2.5)}, 61, standings, config, "")
    assert words.splitlines()[1:4] == ["pipeline: done in 1 min 1 s, 2.5 processor seconds",
                                       "  score               2.5 processor seconds", "    scores              7 rows"]
    assert config.paths.report in words


def test_the_queries_it_suggests_are_answered(spark: SparkSession, config: Config, warehouse: Any) -> None:
    suggested = [line.split('"')[1] for line in closing_words({}, 0, "", config, "").splitlines() if '"' in line]
    assert len(suggested) == 3
    for query in suggested:
        out = io.StringIO()
        run_query(spark, warehouse, query, "csv", out, ALL_TABLES)
        assert len(out.getvalue().splitlines()) > 1


def test_scoring_again_gives_the_same_rows(spark: SparkSession, config: Config, warehouse: Any) -> None:
    def answers() -> list[tuple[Any, ...]]:
        columns = ("entity_id", "task", "as_of", "value", "model_version")
        return sorted(tuple(r) for r in open_warehouse(spark, config).read(SCORES).select(*columns).collect())

    before = answers()
    run_job(Job("score", config, spark=spark), load_stage("score").run)
    assert answers() == before


def test_a_part_of_the_path_is_chosen_by_its_ends(config: Config) -> None:
    assert chosen_stages(config, None, None) == PIPELINE
    assert chosen_stages(config, "score", "analyze") == ("score", "analyze")
    real = load_config([], ["ingest.source=retailrocket"])
    assert chosen_stages(real, None, "ingest") == ("ingest",)
    assert with_fresh_history(config, PIPELINE).ingest.history == "replace"
    assert with_fresh_history(real, PIPELINE[1:]) == real
    with pytest.raises(ConfigError, match="did you mean `sessionize`"):
        chosen_stages(config, "sessionise", None)
    with pytest.raises(ConfigError, match="comes after"):
        chosen_stages(config, "score", "ingest")
