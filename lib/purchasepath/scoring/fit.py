"""Which bundle is asked, and whether it may answer: same features, same vocabulary, the right questions."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame, SparkSession

from purchasepath.bundle.bundle import Bundle
from purchasepath.bundle.registry import resolve
from purchasepath.config import Config
from purchasepath.datasets.manifest import feature_schema_sha
from purchasepath.datasets.vocabulary import summarize_vocabulary
from purchasepath.errors import BundleMismatchError
from purchasepath.storage.parquet import read_parquet
from purchasepath.tables.catalog import EVENT_TYPES, RECOMMENDATIONS, SCORES


def fitting_bundle(config: Config, *questions: str) -> Bundle:
    """The bundle that `score.bundle` names, if this code computes the features and events it was trained on.

    Where `questions` of `model.predicts` are named, it answers one of them at least.
    """
    bundle = Bundle.load(resolve(config.score.bundle, config))
    _, vocabulary_sha = summarize_vocabulary(bundle.vocabulary_path)
    schema_sha = feature_schema_sha(config.features.identity)
    bundle.require(feature_schema_sha=schema_sha, vocabulary_sha=vocabulary_sha)
    if bundle.manifest.num_types != len(EVENT_TYPES) + 1:
        raise BundleMismatchError(
            f"bundle {bundle.name} {bundle.version} was trained on {bundle.manifest.num_types - 1} event types, "
            f"expected {len(EVENT_TYPES)}; train again: ./spark-submit.sh train"
        )
    _require_answers(bundle, questions)
    return bundle


def _require_answers(bundle: Bundle, questions: Sequence[str]) -> None:
    predicts = bundle.model_config.predicts
    if questions and not set(questions) & set(predicts):
        raise BundleMismatchError(
            f"bundle {bundle.name} {bundle.version} answers {', '.join(predicts)}, expected {' or '.join(questions)}; "
            f"choose another one with --set score.bundle=<directory>, or fine-tune it: ./spark-submit.sh train "
            f"--set training.start_from={bundle.directory} --set model.predicts=[{','.join(questions)}]"
        )


def unanswered(bundle: Bundle) -> list[str]:
    """A line for each table that scoring leaves empty, as the bundle does not answer its question."""
    tables = {"purchase": SCORES.name, "item": RECOMMENDATIONS.name}
    return [f"the bundle was not trained to answer {question}: no {table} from it"
            for question, table in tables.items() if question not in bundle.model_config.predicts]


def vocabulary_frame(spark: SparkSession, bundle: Bundle) -> DataFrame:
    """The bundle's vocabulary; sent from here, as executors may not see the bundle's directory."""
    return spark.createDataFrame(read_parquet(bundle.vocabulary_path))
