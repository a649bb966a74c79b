"""The items that a dataset knows: VOCABULARY and, where they are asked for, SIDE_FEATURES."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow.compute as pc
from pyspark import StorageLevel
from pyspark.sql import DataFrame

from purchasepath.config import Config
from purchasepath.datasets.manifest import FIRST_ITEM, Statistics
from purchasepath.datasets.shop_items import ShopItems, read_shop_items
from purchasepath.datasets.side_features import PRICE_STEPS, side_features_of, told_by_events, told_of_items
from purchasepath.datasets.split import TimeSplit
from purchasepath.datasets.vocabulary import EmptyVocabularyError, count_cold, fit_vocabulary, summarize_vocabulary
from purchasepath.datasets.writer import write_items, write_vocabulary
from purchasepath.errors import ConfigError
from purchasepath.places import as_spark_path
from purchasepath.storage.files import sha256_file
from purchasepath.storage.parquet import read_parquet
from purchasepath.tables.catalog import SIDE_FEATURES


@dataclass(frozen=True)
class KnownItems:
    """What the manifest says of the items; see there."""

    num_items: int
    vocabulary_sha: str
    num_cold: int
    side_features: Mapping[str, int] = field(default_factory=dict)
    side_sha: str = ""

    @property
    def num_known(self) -> int:
        return self.num_items - self.num_cold


@dataclass(frozen=True)
class Tellers:
    """What side features are read from: EVENTS, and the shop's own table where there is one."""

    events: DataFrame
    shop: ShopItems | None


def find_tellers(events: DataFrame | None, config: Config) -> Tellers | None:
    """None where no side features are asked for. Raises ConfigError and ShopItemsError: look before the long work."""
    if not config.dataset.side_features:
        return None
    assert events is not None, "side features are read from EVENTS"
    if config.paths.items:
        return Tellers(events, read_shop_items(events.sparkSession, config.paths.items, config.dataset.side_features))
    if "vector" in config.dataset.side_features:
        raise ConfigError(["dataset.side_features asks for vectors, which the shop's table of items has: say where it "
                           "is with paths.items (a Parquet file or directory)"])
    return Tellers(events, None)


def write_known_items(
    train_events: DataFrame, tellers: Tellers | None, config: Config, split: TimeSplit, statistics: Statistics,
    directory: Path, version: str,
) -> tuple[Path, KnownItems]:
    """Write both tables; the vocabulary's file, and what is in them.

    `train_events` are the people's events of the training span.
    """
    if tellers is None:
        return _write_vocabulary(train_events, None, config, directory, version)
    by_events = told_by_events(tellers.events, split.spans[0].end_us)
    told = told_of_items(by_events, tellers.shop).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        file, items = _write_vocabulary(train_events, told, config, directory, version)
        names, width = config.dataset.side_features, tellers.shop.width if tellers.shop else 0
        rows = side_features_of(told.sparkSession.read.parquet(as_spark_path(file)), told, statistics, names=names,
                                num_known=items.num_known, width=width)
        sides = write_items(rows, SIDE_FEATURES, directory / version / "side_features.parquet")
    finally:
        told.unpersist()
    sizes: dict[str, int] = {name: _size(sides, name, width) for name in sorted(names)}
    return file, replace(items, side_features=sizes, side_sha=sha256_file(sides))


def _write_vocabulary(
    train_events: DataFrame, told: DataFrame | None, config: Config, directory: Path, version: str
) -> tuple[Path, KnownItems]:
    settings = config.dataset
    file = write_vocabulary(fit_vocabulary(
        train_events, min_item_count=settings.min_item_count, max_items=settings.max_items, told=told,
    ), directory, version)
    num_items, vocabulary_sha = summarize_vocabulary(file)
    items = KnownItems(num_items, vocabulary_sha, count_cold(file, settings.min_item_count))
    if items.num_known == FIRST_ITEM:
        raise EmptyVocabularyError(settings.min_item_count)
    return file, items


def _size(file: Path, name: str, width: int) -> int:
    """Ids of the side feature, unknown included; of vectors their width."""
    if name in ("price", "vector"):
        return PRICE_STEPS + 1 if name == "price" else width
    return 1 + (pc.max(read_parquet(file, [name]).column(0)).as_py() or 0)
