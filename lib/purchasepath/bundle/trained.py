"""A training's result, kept as a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from purchasepath.bundle.bundle import Bundle
from purchasepath.training.rank_main import build_for

if TYPE_CHECKING:
    from purchasepath.config import Config
    from purchasepath.datasets.manifest import Manifest
    from purchasepath.training.rank_main import Result


def save_result(result: Result, config: Config, manifest: Manifest, *, run_id: str, start: Bundle | None) -> Bundle:
    """The bundle of the best epoch; says of itself how it was trained and what with."""
    model = build_for(manifest, config.model)
    model.load_state_dict(result.weights)
    begun = {"start": f"{start.name}-{start.version}"} if start else {}
    return Bundle.save(
        Path(config.paths.models), name=config.tracking.registered_model, model=model,
        model_config=config.model, manifest=manifest,
        vocabulary_path=manifest.vocabulary_path(config.paths.dataset), metrics=result.metrics,
        training={"run_id": run_id, **begun, **config.training.model_dump(mode="json")},
    )
