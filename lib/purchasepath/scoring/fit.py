"""Which bundle is asked, and whether it may answer: same features, same vocabulary, same split."""

from __future__ import annotations

import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession

from purchasepath.bundle.bundle import Bundle
from purchasepath.bundle.registry import resolve
from purchasepath.config import Config
from purchasepath.datasets.manifest import Manifest, feature_schema_sha
from purchasepath.datasets.vocabulary import summarize_vocabulary
from purchasepath.errors import BundleMismatchError
from purchasepath.tables.catalog import EVENT_TYPES


def fitting_bundle(config: Config) -> Bundle:
    """The bundle that `score.bundle` names, if this code computes the features and events it was trained on."""
    bundle = Bundle.load(resolve(config.score.bundle, config))
    _, vocabulary_sha = summarize_vocabulary(bundle.vocabulary_path)
    schema_sha = feature_schema_sha(config.features.identity)
    bundle.require(feature_schema_sha=schema_sha, vocabulary_sha=vocabulary_sha)
    if bundle.manifest.num_types != len(EVENT_TYPES) + 1:
        raise BundleMismatchError(
            f"bundle {bundle.name} {bundle.version} was trained on {bundle.manifest.num_types - 1} event types, "
            f"expected {len(EVENT_TYPES)}; train again: ./spark-submit.sh train"
        )
    return bundle


def require_same_dataset(bundle: Bundle, manifest: Manifest) -> None:
    """Raises BundleMismatchError unless the bundle was trained on this dataset's contract.

    Otherwise the model might have seen the test span, or would read ids and standardised values that mean
    something else to it.
    """
    bundle.require(feature_schema_sha=manifest.feature_schema_sha, vocabulary_sha=manifest.vocabulary_sha)
    trained = bundle.manifest
    faults = [
        f"  - {what}: the dataset has {getattr(manifest, field)}, the bundle {getattr(trained, field)}"
        for field, what in (("boundaries", "split in time"), ("max_length", "longest sequence"),
                            ("statistics", "means and deviations of the training span"))
        if getattr(manifest, field) != getattr(trained, field)
    ]
    if faults:
        raise BundleMismatchError(
            f"bundle {bundle.name} {bundle.version} was not trained on the dataset it is to be evaluated on:\n"
            + "\n".join(faults) + "\ntrain on this dataset (./spark-submit.sh train), or write it again as it was"
        )


def vocabulary_frame(spark: SparkSession, bundle: Bundle) -> DataFrame:
    """The bundle's vocabulary; sent from here, as executors may not see the bundle's directory."""
    return spark.createDataFrame(pq.read_table(bundle.vocabulary_path))
