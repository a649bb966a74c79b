"""The whole dataset from SESSIONS and USER_FEATURES: split, items, statistics, examples, manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from shutil import rmtree

import pyspark.sql.functions as F
from pyspark import StorageLevel
from pyspark.sql import DataFrame

from purchasepath.config import Config
from purchasepath.datasets.asked import asked_columns, few_answers, learnable, read_asked
from purchasepath.datasets.known_items import Tellers, find_tellers, write_known_items
from purchasepath.datasets.manifest import (
    CONTEXT,
    FIRST_ITEM,
    SPLITS,
    UNKNOWN_ITEM,
    Asked,
    Manifest,
    feature_schema_sha,
)
from purchasepath.datasets.sequences import build_examples, events_of, known_in, points_in
from purchasepath.datasets.split import TimeSplit, split_by_time
from purchasepath.datasets.statistics import fit_statistics
from purchasepath.datasets.writer import now, publish, read_row_groups, write_examples
from purchasepath.errors import InputError, UserError
from purchasepath.features.as_of import as_of_times
from purchasepath.features.labels import check_horizons, summarize_labels
from purchasepath.places import as_spark_path
from purchasepath.storage.contents import describe
from purchasepath.tables.catalog import EVENT_TYPES
from purchasepath.tables.features import USER_FEATURE_NAMES
from purchasepath.tables.tasks import LABEL_NAMES
from purchasepath.times import from_us, to_us


class EmptySplitError(UserError):
    """A split without a single example."""


@dataclass(frozen=True)
class SplitCounts:
    """What stands in one split."""

    examples: int = 0
    events: int = 0
    with_item: int = 0
    """events with an item after which something may be asked: the split's own, and each user's last one before"""
    unknown: int = 0
    """those of them whose item is not in the vocabulary"""
    offered: int = 0
    """points before those were left out whose user had an event that arrived late"""
    asked: Mapping[str, Asked] = field(default_factory=dict)
    """by task"""

    @property
    def points(self) -> int:
        return max((self.asked[name].places for name in self.asked if name in LABEL_NAMES), default=0)


@dataclass(frozen=True)
class Report:
    """What was written, for the job's summary."""

    manifest: Manifest
    counts: dict[str, SplitCounts]
    events: int
    """events in SESSIONS: what was worked through"""
    tasks: tuple[str, ...]
    """what a model is to be asked"""

    @property
    def rows(self) -> dict[str, int]:
        return {f"examples ({split})": counts.examples for split, counts in self.counts.items()}

    @property
    def lines(self) -> list[str]:
        lines = []
        for split, n in self.counts.items():
            groups = len(self.manifest.splits[split])
            share = n.unknown / n.with_item if n.with_item else 0.0
            lines.append(f"{split}: {groups} row groups, {n.events:,} events; of {n.with_item:,} with an item "
                         f"{share:.2%} are out of vocabulary")
            lines.append(f"{split} asks: " + ", ".join(f"{task} {asked}" for task, asked in n.asked.items()))
        offered, used = (sum(getattr(n, name) for n in self.counts.values()) for name in ("offered", "points"))
        lines.append(f"{offered - used:,} of {offered:,} points left out because an event before them arrived later")
        train = self.counts["train"]
        cells = train.examples * self.manifest.max_length
        lines.append(f"train sequences fill {train.events / cells:.0%} of max_length={self.manifest.max_length}")
        return [*lines, *self._item_lines(), *self._warnings()]

    def _item_lines(self) -> list[str]:
        manifest = self.manifest
        cold = f", {manifest.num_cold:,} of them without a history" if manifest.side_features else ""
        told = ", ".join(f"vectors of {size}" if name == "vector" else f"{size - 1:,} of {name}"
                         for name, size in manifest.side_features.items())
        return [f"vocabulary: {manifest.num_items - FIRST_ITEM:,} items{cold}; version {manifest.version}",
                *([f"side features: {told}"] if told else [])]


    def _warnings(self) -> list[str]:
        learned, left_out = learnable(self.tasks, self.manifest.asked["train"])
        return [*left_out, *few_answers(learned, self.manifest.asked)]


def build_dataset(
    sessions: DataFrame, user_features: DataFrame, partials: DataFrame, config: Config, *, version: str,
    events: DataFrame | None = None,
) -> Report:
    """Write the dataset `version` into `config.paths.dataset` and switch to it; on failure the old one stays.

    `partials` is USER_PARTIALS, whose tiles the labels are made of; `events` is EVENTS, which side features are read
    from, where `dataset.side_features` asks for any.
    """
    directory = Path(config.paths.dataset)
    tellers = find_tellers(events, config)
    split, times, num_events = _split(sessions, config)
    check_times(user_features, times)
    labels = summarize_labels(partials, times, split.horizons_us)
    try:
        manifest, counts = _write(sessions, user_features, labels, tellers, config, split, directory, version)
    except BaseException:
        rmtree(directory / version, ignore_errors=True)
        raise
    publish(manifest, directory)
    return Report(manifest, counts, num_events, config.model.tasks)


def _write(
    sessions: DataFrame, user_features: DataFrame, labels: DataFrame, tellers: Tellers | None, config: Config,
    split: TimeSplit, directory: Path, version: str,
) -> tuple[Manifest, dict[str, SplitCounts]]:
    settings = config.dataset
    events = events_of(sessions)
    points = points_in(user_features, sessions, labels, split)
    train_events = known_in(events, split.spans[0])
    statistics = fit_statistics(train_events, points.where(F.col("split") == "train"), USER_FEATURE_NAMES)
    file, items = write_known_items(train_events, tellers, config, split, statistics, directory, version)
    examples = build_examples(
        events, points, sessions.sparkSession.read.parquet(as_spark_path(file)), split=split,
        statistics=statistics, feature_names=USER_FEATURE_NAMES, max_length=settings.max_length,
        num_known=items.num_known,
    )
    counts = _write_examples(examples, points, config, directory, version)
    manifest = Manifest(
        version=version, created_at=now(), source=config.ingest.source,
        splits=read_row_groups(directory, version, rows_per_group=settings.rows_per_group),
        boundaries=split.boundaries, max_length=settings.max_length, num_items=items.num_items,
        num_types=len(EVENT_TYPES) + 1, feature_names=USER_FEATURE_NAMES, statistics=statistics,
        vocabulary_sha=items.vocabulary_sha, feature_schema_sha=feature_schema_sha(config.features.identity),
        label_names=LABEL_NAMES, horizon_hours=split.horizons, num_cold=items.num_cold,
        side_features=items.side_features, side_sha=items.side_sha,
        files=describe(directory / version), asked={name: n.asked for name, n in counts.items()},
    )
    _check_complete(manifest, counts)
    return manifest, counts


def _write_examples(
    examples: DataFrame, points: DataFrame, config: Config, directory: Path, version: str
) -> dict[str, SplitCounts]:
    kept = examples.persist(StorageLevel.MEMORY_AND_DISK)
    try:
        counts = count_examples(kept, points)
        _check_not_empty(counts)
        learnable(config.model.tasks, counts["train"].asked)  # raises before anything is written
        write_examples(kept, {split: n.examples for split, n in counts.items()}, directory, version,
                       rows_per_group=config.dataset.rows_per_group, seed=config.dataset.seed)
    finally:
        kept.unpersist()
    return counts


def count_examples(examples: DataFrame, points: DataFrame) -> dict[str, SplitCounts]:
    """Counts per split."""
    own = F.filter("item", lambda item, place: F.get("outcome", place) > CONTEXT)
    rows = examples.groupBy("split").agg(
        F.count(F.lit(1)).alias("examples"), F.sum(F.size("item")).alias("events"),
        F.sum(F.size(F.filter(own, lambda item: item >= UNKNOWN_ITEM))).alias("with_item"),
        F.sum(F.size(F.filter(own, lambda item: item == UNKNOWN_ITEM))).alias("unknown"),
        *(column.alias(name) for name, column in asked_columns(LABEL_NAMES).items()),
    ).collect()  # one row per split
    offered = {row["split"]: row["count"] for row in points.groupBy("split").count().collect()}
    found = {row["split"]: row.asDict() for row in rows}
    plain = ("examples", "events", "with_item", "unknown")
    return {
        split: SplitCounts(**{name: found[split][name] for name in plain}, offered=offered.get(split, 0),
                           asked=read_asked(found[split])) if split in found else SplitCounts()
        for split in SPLITS
    }


def check_times(user_features: DataFrame, times: Sequence[datetime]) -> None:
    """Raises InputError where features stand at other as-of times than the sessions have: labels there are unknown."""
    found = {row["us"] for row in user_features.select(F.unix_micros("as_of").alias("us")).distinct().collect()}
    if strange := sorted(found - {to_us(at) for at in times}):
        raise InputError(
            f"user_features has rows as of {from_us(strange[0]):%Y-%m-%d %H:%M} UTC, which is no as-of time of these "
            f"sessions and of features.every_hours: run ./spark-submit.sh features, with the same configuration, first")


def _split(sessions: DataFrame, config: Config) -> tuple[TimeSplit, list[datetime], int]:
    """The split, the as-of times, and the number of events, in one pass."""
    span = sessions.agg(
        F.min(F.unix_micros("started_at")).alias("first"), F.max(F.unix_micros("ended_at")).alias("last"),
        F.sum("num_events").alias("events"),
    ).first()
    if span is None or span["first"] is None:
        raise InputError("sessions has no rows; run ./spark-submit.sh ingest and sessionize on data with events first")
    first, last = from_us(span["first"]), from_us(span["last"])
    every_hours = config.features.every_hours
    split = split_by_time(first, last, config.dataset, every_hours, config.sessions.gap_minutes)
    check_horizons(split.horizons, every_hours)
    return split, as_of_times(first, last, every_hours), span["events"]


def _check_not_empty(counts: dict[str, SplitCounts]) -> None:
    empty = [split for split in SPLITS if not counts[split].examples]
    if empty:
        raise EmptySplitError(
            f"no example falls into: {', '.join(empty)}; are there events of people (not bots) there, and were "
            "features computed on the same sessions? Run ./spark-submit.sh features again, or change "
            "dataset.valid_hours and dataset.test_hours"
        )


def _check_complete(manifest: Manifest, counts: dict[str, SplitCounts]) -> None:
    for split in SPLITS:
        written, expected = manifest.rows(split), counts[split].examples
        if written != expected:
            raise RuntimeError(f"{expected} examples of {split} were to be written, {written} are in the files")
