"""Every knob, with its default, its check and its meaning.

`load_config(files, overrides)` merges the defaults below, YAML files (later wins) and
`section.key=value` overrides. Unknown keys and bad values are collected and reported together.
Durations carry their unit in the name. Paths are relative to the working directory, and absolute once they are read.
Secrets never live here: the pseudonym key is read from the environment or a file (see `Ingest`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from purchasepath.errors import ConfigError, nearest
from purchasepath.knobs import (
    Address,
    Count,
    CountOrNone,
    Days,
    FileName,
    Hours,
    Minutes,
    Once,
    Seconds,
    Section,
    Seed,
    Settings,
    Weight,
    known_day,
    known_zone,
    some_path,
)
from purchasepath.places import BundlePlace, FilePlace, Place, Places, is_uri
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


class Dataset(Section):
    min_item_count: Count = Field(3, description="rarer items share the OOV id")
    max_items: Count = Field(1_000_000, description="largest item vocabulary")
    side_features: Annotated[tuple[Literal["category", "brand", "price", "vector"], ...], Once] = Field(
        (), description="what the model is told of an item beside its history, as events of the training span and "
        "`paths.items` say it; with any, items without a history are scored, too"
    )
    max_length: int = Field(64, ge=2, le=65_536,
                            description="events per example; longer histories become several examples")
    horizon_hours: Hours = Field(168, description="the purchase head predicts a purchase within this time")
    valid_hours: Hours = Field(168, description="validation span, just before the test span")
    test_hours: Hours = Field(168, description="test span, up to the last midnight that the data reaches (with "
                              "`features.every_hours` below 24: the last multiple of it)")
    rows_per_group: int = Field(256, ge=1, le=1_000_000, description="rows of every Parquet row group of EXAMPLES")
    seed: Seed = Field(11, description="shuffles users over row groups")


class Model(Section):
    encoder: Literal["transformer", "sasrec", "gru", "lstm", "bert4rec"] = Field(
        "transformer", description="`transformer`: gated blocks after a causal convolution over the last events; "
        "`sasrec`: the plain blocks of SASRec; `gru`, `lstm`: recurrent layers; `bert4rec`: the "
        "transformer's layers, which read both ways and learn to guess masked events"
    )
    predicts: Annotated[tuple[Literal["item", "purchase", "session", "churn", "next_type"], ...], Once] = Field(
        ("item", "purchase"), min_length=1, description="`item`: the next item; `purchase`: a purchase within the "
        "horizon after an as-of time; `session`: a purchase later in the running session; `churn`: no event within the "
        "horizon; `next_type`: the next event's type. A question that the training span answers "
        "in one way alone is left out"
    )
    width: int = Field(64, ge=8, le=16_384, description="size of the vectors (D)")
    layers: int = Field(2, ge=1, le=256, description="blocks of a transformer, layers of a recurrent encoder")
    heads: int = Field(2, ge=1, le=256, description="attention heads of a transformer; divides `width`")
    feed_forward: float = Field(2.0, gt=0, le=64, description="inner width of a transformer's blocks, in multiples of "
                                "`width`")
    dropout: float = Field(0.1, ge=0, lt=1, description="on embeddings and residual branches")
    mask_share: float = Field(0.3, gt=0, le=1, description="`bert4rec`: share of the next items that a training step "
                              "masks and learns from")

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.encoder not in ("gru", "lstm") and self.width % self.heads:
            raise ValueError(f"heads={self.heads} must divide width={self.width}")
        return self


class Training(Section):
    ranks: int = Field(2, ge=1, le=10_000, description="training processes; 1 runs in the driver itself")
    backend: Literal["auto", "horovod", "torch", "solo"] = Field(
        "auto", description="what joins the ranks; `horovod`; `torch`: torch.distributed; `auto`: Horovod, or torch "
        "where set-up could not build it; `solo`: nothing, for one rank"
    )
    elastic: bool = Field(False, description="with Horovod: go on without a rank that was lost, from the last "
                          "checkpoint, and take in another one that Spark starts in its place")
    epochs: Count = Field(4, description="most passes over the training examples")
    patience: Count = Field(2, description="stop after this many epochs without a better one")
    select_by: Literal["loss", "ndcg"] = Field("loss", description="what makes an epoch the better one on the "
                                               "validation split: its loss, or NDCG@10 of the next item")
    batch_size: int = Field(64, ge=1, le=10_000_000, description="examples per step over all ranks together")
    lanes: int = Field(8, ge=1, le=10_000_000,
                       description="parts a batch is cut into; batches are the same for any ranks <= lanes")
    learning_rate: float = Field(0.004, gt=0, le=100, description="peak rate for a batch of 128; scaled with the batch")
    warmup_steps: CountOrNone = Field(50, description="linear warm-up")
    weight_decay: float = Field(0.01, ge=0, le=100, description="AdamW")
    clip_norm: float = Field(1.0, gt=0, le=1_000_000_000, description="largest gradient norm")
    valid_examples: Count = Field(4096, description="validation examples looked at after an epoch: the first "
                                "row groups (users lie in random order) with at least this many")
    negatives: CountOrNone = Field(0, description="items that a step's targets are told from, drawn anew every step "
                           "and shared by its examples (sampled softmax); 0: the whole catalogue, which is exact and, "
                           "up to some 10,000 items, no slower")
    item_dropout: float = Field(0.2, ge=0, lt=1, description="share of items whose own vector a step leaves out, for "
                                "their side features to learn to stand alone; without side features none")
    other_weight: Weight = Field(0.5, description="weight of every other loss beside the next item's")
    start_from: BundlePlace = Field("", description="bundle whose weights training begins with: `latest`, a bundle "
                                    "directory, or models:/<name>/<version or @alias>; empty: fresh weights")
    tune: Literal["full", "frozen", "lora"] = Field(
        "full", description="what changes of a model that training begins with: everything, its heads alone, or its "
        "heads and low-rank adapters on attention and feed-forward matrices"
    )
    lora_rank: int = Field(8, ge=1, le=16_384, description="rank of the adapters of `tune: lora`")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="`auto`: bf16 on a GPU, fp32 elsewhere")
    seed: Seed = Field(13, description="weights, dropout and the order of batches")
    resume: bool = Field(True, description="go on from the checkpoint of a run with the same config and data")
    checkpoint_steps: Count = Field(500, description="steps between checkpoints, beside one after every epoch")
    timeout_minutes: float = Field(30, gt=0, le=10_080, description="longest wait for all ranks to start")
    network_interface: str = Field("", description="on a cluster: what ranks and the services that start them listen "
                                   "on, such as eth0, the same name on every host; empty: the interface by which "
                                   "executors reach the driver. On one machine it is always loopback")


class Tracking(Section):
    uri: Address = Field("sqlite:///var/mlflow.db", min_length=1, description="MLflow tracking store")
    artifacts: Place = Field("var/mlartifacts", description="artifact directory of new experiments in a local store")
    experiment: str = Field("purchasepath", min_length=1, max_length=500, description="experiment of the runs")
    registered_model: FileName = Field("purchasepath", description="name under which bundles are registered")


class Evaluate(Section):
    ks: Annotated[tuple[Annotated[int, Field(ge=1, le=10_000)], ...], Once] = Field(
        (5, 10, 20), min_length=1, description="cut-offs of Recall, NDCG, MRR and coverage"
    )
    baselines: Annotated[tuple[Literal[
        "popular_7d", "popular_category_7d", "markov_1", "markov_2", "item_knn", "als", "logistic_regression"], ...
    ], Once] = Field(
        ("popular_7d", "markov_1", "als", "logistic_regression"), description="what the model is set beside; "
        "`markov_2` (the last two items) and `item_knn` (cosine of the examples that two items share) take some more "
        "seconds, `als` (latent factors) as long as all others; `popular_category_7d` (the last item's category) "
        "needs `category` among `dataset.side_features`"
    )
    threshold: float = Field(0.5, gt=0, lt=1, description="purchase probability from which we say `will buy`")


class Score(Section):
    bundle: BundlePlace = Field("latest", description="`latest`, a bundle directory, or models:/<name>/<version or "
                                "@alias>")
    top_k: int = Field(10, ge=1, le=10_000, description="recommendations per user")
    exclude: Literal["none", "purchased", "seen"] = Field("none", description="items never recommended to a user")
    batch_rows: int = Field(1024, ge=1, le=1_000_000, description="users scored at once")
    item_block: Count = Field(65_536, description="items scored at once")
    max_drift: Weight = Field(1.0, description="population stability index of the purchase probabilities against "
                             "the last published ones, above which nothing is published (0.25 is a clear shift); "
                             "0 turns the check off")


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
