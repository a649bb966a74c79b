"""Runs of which MLflow was not told when they ended: kept beside their bundles, told when it answers again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from purchasepath.config import Config
from purchasepath.errors import UserError
from purchasepath.storage.files import write_json
from purchasepath.training.tracking import Tracker, TrackingError, track

_WAITING = ".unregistered"


@dataclass(frozen=True)
class Told:
    """What a finished training tells of itself; `bundle` is its directory's name below `paths.models`."""

    bundle: str
    name: str
    tags: dict[str, str]
    curves: list[dict[str, float]]
    metrics: dict[str, float]

    def to(self, tracker: Tracker, models: Path) -> str:
        """Tells all of it; the registered bundle's reference."""
        tracker.log_curves(self.curves)
        tracker.log_metrics(self.metrics)
        return tracker.log_bundle(models / self.bundle, self.name, self.tags)


def describe_run(tracker: Tracker, config: Config, tags: dict[str, str]) -> None:
    """What is known of a run before it trains."""
    tracker.log_params({**config.model.model_dump(), **config.training.model_dump(), **tags})
    tracker.log_json("config.json", config.model_dump(mode="json"))


def tell(told: Told, tracker: Tracker, config: Config) -> str:
    """Tells MLflow of the bundle; its reference there, or why it has none yet and how it gets one."""
    models = Path(config.paths.models)
    try:
        return f" ({told.to(tracker, models)})"
    except TrackingError as failure:
        content = {"told": asdict(told), "config": config.model_dump(mode="json")}
        write_json(models / _WAITING / f"{told.bundle}.json", content)
        return f", whole and in use, but not registered: {failure}. The next `train` or `evaluate` registers it"


def register_waiting(config: Config) -> list[str]:
    """Tells MLflow of the runs that wait for it; a line per bundle that is registered now.

    One that cannot be read is named, and left. Raises TrackingError where MLflow still does not answer.
    """
    lines: list[str] = []
    models = Path(config.paths.models)
    for file in sorted((models / _WAITING).glob("*.json")):
        try:
            told, ran = _read(file, config)
        except (OSError, ValueError, KeyError, TypeError, UserError) as damage:
            lines.append(f"{file} cannot be read ({_first_line(damage)}), so MLflow is not told of that run; remove it")
            continue
        if (models / told.bundle).is_dir():
            with track(ran, name=told.tags["run_id"], tags=told.tags) as tracker:
                describe_run(tracker, ran, told.tags)
                lines.append(f"bundle {told.bundle} of an earlier run is registered now ({told.to(tracker, models)})")
        file.unlink()
    return lines


def _read(file: Path, config: Config) -> tuple[Told, Config]:
    """What waits, and the configuration that it ran with, told to the store of today's."""
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    told = Told(**content["told"])
    if Path(told.bundle).name != told.bundle:
        raise ValueError(f"{told.bundle} is no bundle's name")
    return told, Config.model_validate({**content["config"], "tracking": config.tracking.model_dump()})


def _first_line(damage: Exception) -> str:
    return next(iter(str(damage).splitlines()), type(damage).__name__)
