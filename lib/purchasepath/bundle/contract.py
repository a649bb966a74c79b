"""Whether a bundle and a dataset belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from purchasepath.bundle.bundle import Bundle
from purchasepath.bundle.registry import resolve
from purchasepath.errors import BundleMismatchError

if TYPE_CHECKING:
    from purchasepath.config import Config
    from purchasepath.datasets.manifest import Manifest

_SHAPE = ("encoder", "width", "layers", "heads", "feed_forward")


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
                            ("label_names", "tasks with labels"), ("horizon_hours", "horizons of the tasks"),
                            ("num_types", "event types and padding"), ("num_cold", "items without a history"),
                            ("statistics", "means and deviations of the training span"))
        if getattr(manifest, field) != getattr(trained, field)
    ]
    if faults:
        raise BundleMismatchError(
            f"bundle {bundle.name} {bundle.version} was not trained on this dataset:\n"
            + "\n".join(faults) + "\ntrain on this dataset (./spark-submit.sh train), or write it again as it was"
        )


def starting_bundle(config: Config, manifest: Manifest) -> Bundle | None:
    """The bundle that training begins with, if it fits model and dataset; None where it begins with fresh weights."""
    if not config.training.start_from:
        return None
    bundle = Bundle.load(resolve(config.training.start_from, config))
    require_same_dataset(bundle, manifest)
    wanted, found = config.model, bundle.model_config
    faults = [f"  - model.{name}: expected {getattr(wanted, name)}, the bundle has {getattr(found, name)}"
              for name in _SHAPE if getattr(wanted, name) != getattr(found, name)]
    if faults:
        flags = [f"--set model.{name}={getattr(found, name)}" for name in _SHAPE
                 if getattr(wanted, name) != getattr(found, name)]
        raise BundleMismatchError(
            f"training cannot begin with bundle {bundle.name} {bundle.version}, a model of another shape:\n"
            + "\n".join(faults) + f"\ntake its shape: {' '.join(flags)}, or begin with another bundle"
        )
    return bundle
