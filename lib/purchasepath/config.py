"""Every knob, with its default, its check and its meaning.

`load_config(files, overrides)` merges the defaults below, YAML files (later wins) and
`section.key=value` overrides. Unknown keys and bad values are collected and reported together.
Durations carry their unit in the name. Paths are relative to the working directory, and absolute once they are read.
Secrets never live here: the pseudonym key is read from the environment or a file (see `Ingest`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from purchasepath.errors import ConfigError, nearest
from purchasepath.knobs import (
    Count,
    Days,
    Hours,
    Minutes,
    Seconds,
    Section,
    Seed,
    Settings,
    known_day,
    known_zone,
    some_path,
)
from purchasepath.learning_config import Dataset, Evaluate, Model, Score, Tracking, Training
from purchasepath.places import FilePlace, Place, Places, is_uri
from purchasepath.plain_yaml import KeyTwiceError, read_sections, read_yaml


class Paths(Section):
    raw: Places = Field("var/raw", description="raw event files: a file, a directory, a glob, or several joined by ','")
    items: Place = Field("", description="the shop's own table of its items, Parquet: `item_id` and any of `category`, "
                       "`brand`, `price`, `vector` (of a text or an image); read for `dataset.side_features`")
    warehouse: Place = Field("var/warehouse", description="directory of the warehouse's tables")
    dataset: FilePlace = Field("var/dataset", description="directory of EXAMPLES, VOCABULARY and the manifest")
    models: FilePlace = Field("var/models", description="directory of bundles and checkpoints")
    report: FilePlace = Field("var/report/report.html", description="the HTML report")
    runs: FilePlace = Field("var/runs", description="one JSON manifest per finished job")

    _given = field_validator("raw", "warehouse", "dataset", "models", "report", "runs", mode="before")(some_path)


class Warehouse(Section):
    catalog: Literal["embedded", "hive"] = Field(
        "embedded", description="`embedded`: snapshots on a local or shared directory; `hive`: a Hive metastore"
    )
    database: str = Field("purchasepath", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="database of the tables")
    keep_snapshots: int = Field(3, ge=1, le=10_000, description="newest snapshots kept for readers that hold no lock")


class Spark(Section):
    shuffle_partitions: int = Field(0, ge=0, le=1_000_000, description="0: twice the cores Spark reports (at least 2)")
    driver_memory: str = Field("2g", pattern=r"^[1-9]\d{0,5}[mgMG]$",
                               description="heap of a driver that we start ourselves")
    conf: Settings = Field(default_factory=dict, description="any further Spark setting, as `key: value`")


class Simulate(Section):
    users: Count = Field(20_000, description="visitors of the generated shop")
    days: int = Field(42, ge=1, le=3650, description="days of history")
    start: str = Field("2024-01-01", description="first day (UTC)")
    items: int = Field(800, ge=10, le=10_000_000, description="size of the catalogue")
    seed: Seed = Field(7, description="same seed, same shop, on any number of partitions")
    bot_share: float = Field(0.01, ge=0, lt=1, description="share of visitors that are bots")
    login_share: float = Field(0.3, ge=0, le=1, description="share of visitors that log in at some time")
    late_share: float = Field(0.01, ge=0, lt=1, description="share of events that arrive hours or days late")
    duplicate_share: float = Field(0.01, ge=0, lt=1, description="share of events that are delivered twice")
    malformed_share: float = Field(0.001, ge=0, lt=1, description="share of lines that are broken")
    predictable: float = Field(0.85, ge=0, le=1, description="0: items are picked at random; 1: by taste and path")

    _known = field_validator("start")(known_day)


class Ingest(Section):
    source: str = Field("simulated", description="name of a mapping in conf/sources, or a path to one")
    history: Literal["add", "replace"] = Field("add", description="`add` to the events of earlier runs, or `replace` "
                                               "all of them")
    max_rejected_share: float = Field(0.02, ge=0, le=1, description="a larger share of rejected rows fails the job")
    max_collision_share: float = Field(0.02, ge=0, le=1, description="a larger share of rows that have another row's "
                                       "event id but other contents fails the job")
    pseudonym_key_env: str = Field("PURCHASEPATH_KEY", description="environment variable that holds the key")
    pseudonym_key_file: FilePlace = Field("var/pseudonym.key", description="key file used when the variable is not "
                                          "set; made with fresh randomness and mode 600 on first use")


class Sessions(Section):
    gap_minutes: Minutes = Field(30, description="a longer pause between two events opens a new session")
    max_hours: Hours = Field(12, description="longest session")
    max_events: Count = Field(2500, description="largest session")
    late_horizon_days: Days = Field(3, description="an event that arrived later than this after it happened "
                                     "goes to late_events and into no session")
    cut_on_campaign: bool = Field(False, description="a new campaign opens a new session")
    cut_at_midnight: bool = Field(False, description="local midnight opens a new session")
    timezone: str = Field("UTC", description="zone of `cut_at_midnight`")
    bot_events_per_window: int = Field(100, ge=2, le=1_000_000_000,
                                       description="this many requests (events of one instant, as the lines of an "
                                                   "order, are one) ...")
    bot_window_seconds: Seconds = Field(100, description="... within this time flag a session as a bot's")
    bot_max_events: int = Field(1000, ge=2, le=1_000_000_000,
                                description="sessions of at least this many requests are flagged")

    _known = field_validator("timezone")(known_zone)


class Features(Section):
    every_hours: Hours = Field(168, description="distance of the as-of times, counted back from the last midnight that "
                               "the data reaches (below 24: the last multiple); one more follows the newest event, "
                               "for scoring")
    identity: Literal["visitor", "person"] = Field(
        "visitor", description="user features over the visitor's own events, or over those of all visitors behind whom "
        "the same account stands, as that was known at the as-of time"
    )
    chunk_days: int = Field(60, ge=1, le=36_500, description="days of partial aggregates computed and committed at "
                            "a time; a run that was cut off goes on after the last of them")


class Analyze(Section):
    funnel: tuple[str, ...] = Field(("view", "cart", "checkout", "purchase"), min_length=1, description="steps of the "
                                    "funnel, in order; those that no session has are left out")
    price_bands: int = Field(4, ge=1, le=1000, description="price bands (quantiles of item prices)")
    top_paths: int = Field(20, ge=1, le=100_000, description="most common paths shown")
    path_length: int = Field(8, ge=2, le=1000,
                             description="steps of a path told apart; the middle of longer ones is cut")


class Config(Section):
    """The whole configuration, one attribute per section."""

    paths: Paths = Field(default_factory=Paths)
    warehouse: Warehouse = Field(default_factory=Warehouse)
    spark: Spark = Field(default_factory=Spark)
    simulate: Simulate = Field(default_factory=Simulate)
    ingest: Ingest = Field(default_factory=Ingest)
    sessions: Sessions = Field(default_factory=Sessions)
    features: Features = Field(default_factory=Features)
    dataset: Dataset = Field(default_factory=Dataset)
    model: Model = Field(default_factory=Model)
    training: Training = Field(default_factory=Training)
    tracking: Tracking = Field(default_factory=Tracking)
    evaluate: Evaluate = Field(default_factory=Evaluate)
    score: Score = Field(default_factory=Score)
    analyze: Analyze = Field(default_factory=Analyze)

    @model_validator(mode="after")
    def _reached_as_files(self) -> Self:
        if self.warehouse.catalog == "embedded" and is_uri(self.paths.warehouse):
            raise ConfigError([f"paths.warehouse: found {self.paths.warehouse}; the embedded warehouse is a directory, "
                               "on a cluster one that every node mounts; or take warehouse.catalog=hive"])
        return self


def load_config(files: Iterable[str | Path] = (), overrides: Iterable[str] = ()) -> Config:
    """The defaults, then each YAML file, then each `section.key=value`; later wins.

    Raises ConfigError with every fault found.
    """
    merged: dict[str, Any] = {}
    for file in files:
        _merge(merged, read_sections(Path(file)))
    for override in overrides:
        _merge(merged, _parse_override(override))
    try:
        return Config.model_validate(merged)
    except ValidationError as invalid:
        raise ConfigError(_explain(fault) for fault in invalid.errors()) from None


def _parse_override(override: str) -> dict[str, Any]:
    path, equals, value = override.partition("=")
    section, dot, key = path.strip().partition(".")
    if not (equals and dot and key):
        raise ConfigError([f"--set {override}: expected section.key=value, for example sessions.gap_minutes=20"])
    # `--set spark.conf.spark.sql.x=1`: the rest of the path is one key of that mapping
    outer, inner_dot, inner = key.partition(".")
    return {section: {outer: {inner: value} if inner_dot else _read_value(section, key, value)}}


def _read_value(section: str, key: str, value: str) -> Any:
    """Text as written, also `a #b` and `[x]`; a list or a mapping where the knob is one; quotes are taken off."""
    knob = _fields_of(section).get(key)
    if value[:1] not in ({"'", '"'} if knob and knob.annotation is str else {"'", '"', "[", "{"}):
        return value
    try:
        return read_yaml(value)
    except KeyTwiceError as doubles:
        raise ConfigError([f"--set {section}.{key}: {doubles}; keep one of them"]) from None
    except yaml.YAMLError:
        return value


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value


def _explain(fault: Any) -> str:
    path = [str(part) for part in fault["loc"]]
    name = ".".join(path)
    if fault["type"] == "extra_forbidden":
        known = Config.model_fields if len(path) == 1 else _fields_of(path[0])
        return f"unknown key `{name}`{nearest(path[-1], known)}"
    return f"{name}: {fault['msg'].removeprefix('Value error, ')} (found {fault['input']!r})"


def _fields_of(section: str) -> Mapping[str, FieldInfo]:
    field = Config.model_fields.get(section)
    annotation = field.annotation if field else None
    return annotation.model_fields if isinstance(annotation, type) and issubclass(annotation, BaseModel) else {}
