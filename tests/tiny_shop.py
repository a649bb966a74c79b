"""A shop small enough to check by hand: a warehouse, a dataset directory and a bundle that fit together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from purchasepath.bundle.bundle import Bundle, point_latest
from purchasepath.config import Config, load_config
from purchasepath.datasets.manifest import Manifest, RowGroup
from purchasepath.datasets.vocabulary import summarize_vocabulary
from purchasepath.job import Job
from purchasepath.storage import open_warehouse
from purchasepath.tables.catalog import SESSIONS
from purchasepath.tables.features import USER_FEATURE_NAMES, USER_FEATURES
from tests.tiny_bundle import EXAMPLE_SCHEMA, example, tiny_bundle, tiny_manifest, write_vocabulary

AS_OF = datetime(2024, 1, 29, tzinfo=UTC)
FEATURES = USER_FEATURE_NAMES[:2]

TRAIN = [
    example([3, 4, 3, 4, 5], targets={0: 4, 1: 3, 2: 4, 3: 5}, points={1: 0, 4: 1}, features=[-1.0, 0.0, 1.0, 0.5]),
    example([4, 3, 3], targets={0: 3}, points={0: 1, 2: 0}, features=[1.0, 0.25, -1.0, 0.0]),
]
TEST = [
    example([3, 1, 4], targets={0: 4, 1: 7}, points={2: 1}, features=[1.0, 0.0]),
    example([5], targets={0: 2}, points={0: 0}, features=[-1.0, 0.0]),
    example([6, 3], targets={0: 3}, points={}, features=[]),
]


@dataclass
class TinyShop:
    """What jobs read: configuration, warehouse, dataset, bundle."""

    spark: Any
    config: Config
    bundle: Bundle

    def job(self, name: str, *overrides: str) -> Job:
        config = load_config([], [f"paths.{k}={v}" for k, v in self.config.paths.model_dump().items() if v]
                             + [f"tracking.uri=sqlite:///{self.config.paths.runs}/mlflow.db", *overrides])
        return Job(name, config, spark=self.spark)


def tiny_shop(spark: Any, root: Path, *, test: Sequence[dict[str, Any]] = TEST) -> TinyShop:
    config = load_config([], [f"paths.{name}={root / name}" for name in ("warehouse", "dataset", "models", "runs")])
    _write_warehouse(spark, config)
    manifest = _write_dataset(Path(config.paths.dataset), test)
    bundle = tiny_bundle(Path(config.paths.models), manifest=replace(manifest, splits={}), fits=False)
    point_latest(bundle)
    return TinyShop(spark, config, bundle)


def session(user: str, started_at: datetime, items: Sequence[str | None], *, types: Sequence[str] = (),
            lag_us: int = 0) -> dict[str, Any]:
    """A row of SESSIONS with one event on each item, a minute apart."""
    size, minute = len(items), 60_000_000
    return {
        "session_id": f"{user}-{started_at:%d%H%M}", "user_id": user, "started_at": started_at,
        "ended_at": started_at + timedelta(minutes=size - 1), "num_events": size, "is_bot": False,
        "event_ids": [f"{user}{started_at:%d%H%M}{n:03d}" for n in range(size)],
        "event_types": list(types) or ["view"] * size, "item_ids": list(items), "prices": [2.0] * size,
        "offsets_us": [n * minute for n in range(size)], "arrival_lags_us": [lag_us] * size,
        "session_date": started_at.date(),
    }


def _write_warehouse(spark: Any, config: Config) -> None:
    day = AS_OF - timedelta(days=10)
    sessions = [
        session("ada", day, ["A", "B", None, "A"], types=["view", "view", "search", "purchase"]),
        session("ben", day, ["C"]),
        session("ben", AS_OF - timedelta(minutes=2), ["D", "E"]),
        session("eve", AS_OF - timedelta(hours=1), ["A"], lag_us=7_200_000_000),  # not known at AS_OF
    ]
    features = [{"user_id": user, "as_of": AS_OF, "as_of_date": AS_OF.date(), FEATURES[0]: value}
                for user, value in (("ada", 3.0), ("ben", 1.0))]
    with open_warehouse(spark, config).transaction("setup") as tx:
        tx.write(SESSIONS, SESSIONS.frame(spark, sessions))
        tx.write(USER_FEATURES, USER_FEATURES.frame(spark, features))


def _write_dataset(directory: Path, test: Sequence[dict[str, Any]]) -> Manifest:
    manifest = tiny_manifest(feature_names=FEATURES, num_cold=1, side_features={"category": 3}, side_sha="s")
    categories = pa.table({"id": pa.array(range(3, 8), pa.int32()), "category": pa.array([1, 1, 2, 0, 2], pa.int32())})
    vocabulary = write_vocabulary(manifest.vocabulary_path(directory), manifest.num_items)
    pq.write_table(categories, manifest.side_path(directory))
    groups = {}
    for split, rows in (("train", TRAIN), ("valid", TRAIN[:1]), ("test", test)):
        file = f"{manifest.version}/examples/split={split}/part-00000.parquet"
        (directory / file).parent.mkdir(parents=True)
        numbered = [{**row, "example_id": n} for n, row in enumerate(rows)]
        ids = [(name, pa.int64()) for name in ("example_id", "visitor")]
        table = pa.Table.from_pylist(numbered, pa.schema([*ids, *EXAMPLE_SCHEMA]))
        pq.write_table(table, directory / file)
        groups[split] = (RowGroup(file, 0, len(rows), table.nbytes),) if rows else ()
    manifest = replace(manifest, splits=groups, vocabulary_sha=summarize_vocabulary(vocabulary)[1])
    manifest.save(directory)
    return manifest
