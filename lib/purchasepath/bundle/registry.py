"""From a bundle's reference to its directory: `latest`, a path, or a name and version registered with MLflow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from purchasepath.bundle.bundle import LATEST
from purchasepath.errors import UserError
from purchasepath.training.tracking import open_client

if TYPE_CHECKING:
    from purchasepath.config import Config, Tracking

_REGISTERED = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[^/@]+))")


class BundleMissingError(UserError):
    """No bundle under the reference."""


def resolve(reference: str, config: Config) -> Path:
    """The directory of the bundle that `reference` names; loading it checks its content."""
    if reference == LATEST:
        return _latest(Path(config.paths.models))
    if reference.startswith("models:"):
        return _registered(reference, config.tracking)
    directory = Path(reference)
    if not directory.is_dir():
        raise BundleMissingError(
            f"no bundle at {reference}; expected `latest`, a bundle directory, or models:/<name>/<version or @alias>"
        )
    return directory


def _latest(models: Path) -> Path:
    try:
        name = (models / LATEST).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise BundleMissingError(f"there is no bundle in {models} yet; train one: ./spark-submit.sh train") from None
    except (OSError, UnicodeDecodeError) as failure:
        raise BundleMissingError(f"{models / LATEST} cannot be read ({failure}); write the name of a bundle into it, "
                                 "or train again: ./spark-submit.sh train") from None
    if name not in {directory.name for directory in models.iterdir() if directory.is_dir()}:
        raise BundleMissingError(
            f"{models / LATEST} names {name[:100]!r}, which is not there; train again: ./spark-submit.sh train, "
            f"or choose another bundle with --set score.bundle=<directory>"
        )
    return models / name


def _registered(reference: str, config: Tracking) -> Path:
    """The registered bundle's artifacts, as a local directory (downloaded where the store is remote)."""
    asked = _REGISTERED.fullmatch(reference)
    if asked is None:
        raise BundleMissingError(f"{reference} is not models:/<name>/<version> or models:/<name>@<alias>")
    from mlflow.artifacts import download_artifacts  # MLflow is loaded only where it is asked for
    from mlflow.exceptions import MlflowException

    client = open_client(config)
    try:
        if asked["version"]:
            version = client.get_model_version(asked["name"], asked["version"])
        else:
            version = client.get_model_version_by_alias(asked["name"], asked["alias"])
        return Path(download_artifacts(artifact_uri=version.source, tracking_uri=config.uri))
    except (MlflowException, OSError) as failure:
        raise BundleMissingError(
            f"{reference} is not in the registry of {config.uri} ({failure}); "
            f"`mlflow ui --backend-store-uri {config.uri}` shows what is"
        ) from None
