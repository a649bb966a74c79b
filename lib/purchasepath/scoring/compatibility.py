"""Which bundle is asked, and whether it may answer: same features, same vocabulary, the right tasks."""

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
from purchasepath.tables.tasks import LABEL_NAMES


def load_compatible_bundle(config: Config, tasks: Sequence[str] = ()) -> Bundle:
    """The bundle that `score.bundle` names, if this code computes the features and events it was trained on.

    Where `tasks` are named, it answers one of them at least.
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
    _require_answers(bundle, tasks)
    return bundle


def _require_answers(bundle: Bundle, tasks: Sequence[str]) -> None:
    answered = bundle.model_config.tasks
    if tasks and not set(tasks) & set(answered):
        raise BundleMismatchError(
            f"bundle {bundle.name} {bundle.version} answers {', '.join(answered)}, expected {' or '.join(tasks)}; "
            f"choose another one with --set score.bundle=<directory>, or fine-tune it: ./spark-submit.sh train "
            f"--set training.start_from={bundle.directory} --set model.tasks=[item,purchase]"
        )


def unanswered(bundle: Bundle) -> list[str]:
    """A line for each table that scoring leaves empty, as the bundle answers none of its tasks."""
    tables = {SCORES.name: LABEL_NAMES, RECOMMENDATIONS.name: ("item",)}
    return [f"the bundle was not trained to answer {' or '.join(tasks)}: no {table} from it"
            for table, tasks in tables.items() if not set(tasks) & set(bundle.model_config.tasks)]


def vocabulary_frame(spark: SparkSession, bundle: Bundle) -> DataFrame:
    """The bundle's vocabulary; sent from here, as executors may not see the bundle's directory."""
    return spark.createDataFrame(read_parquet(bundle.vocabulary_path))
