"""A source mapping: how a shop's raw files become rows of EVENTS, as data.

`conf/sources/<name>.yaml` holds one mapping; docs are the descriptions below. Example:

    description: clicks of the old shop
    inputs:
      - format: csv
        time: {format: epoch_ms}
        events: {click: view, buy: purchase}
        fields: {user_id: visitor, event_ts: at, event_type: what, item_id: product}
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from purchasepath.errors import ConfigError, nearest
from purchasepath.knobs import known_zone
from purchasepath.plain_yaml import KeyTwiceError, read_yaml
from purchasepath.tables.catalog import EVENT_TYPES, EVENTS

FIELDS = tuple(c.name for c in EVENTS.columns if c.name not in (*EVENTS.partition_by, "tie_order"))
REQUIRED_FIELDS = ("user_id", "event_ts", "event_type")
_MOST_QUANTITY = 2**31 - 1
OWN_PREFIX = "_pp_"  # our own columns beside a source's


class Part(BaseModel):
    """A frozen part of a mapping; unknown keys are errors. Words and ids are as written: `010`, `0.00`, `no`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FieldSpec(Part):
    """Where one column of EVENTS comes from: exactly one of `column`, `constant` and `sql`."""

    column: str | None = Field(None, description="column (CSV, Parquet) or key (JSON) of the source")
    constant: str | None = Field(None, description="the same value for every row")
    sql: str | None = Field(None, description="Spark SQL expression over the columns in `uses`, all of them strings; "
                                           "a value of one row, of allowed functions")
    uses: tuple[str, ...] = Field((), description="source columns that `sql` reads")
    only_for: tuple[str, ...] = Field((), description="event types (ours) that have this field; the others get null")
    missing: tuple[str, ...] = Field((), description="further words that mean `no value`, beside the empty one")

    @model_validator(mode="before")
    @classmethod
    def _bare_column(cls, given: Any) -> Any:
        return given if isinstance(given, dict | FieldSpec) else {"column": given}

    @model_validator(mode="after")
    def _one_origin(self) -> FieldSpec:
        if sum(origin is not None for origin in (self.column, self.constant, self.sql)) != 1:
            raise ValueError("give exactly one of column, constant, sql")
        if bool(self.uses) != (self.sql is not None):
            raise ValueError("`sql` and `uses` (the source columns it reads) go together")
        _check_words(self.only_for, EVENT_TYPES, "event type")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        return self.uses if self.column is None else (self.column,)


class TimeFormat(Part):
    """How times are written."""

    format: str = Field("iso", description="`iso`, `epoch_s`, `epoch_ms`, `epoch_us`, or a pattern such as "
                                           "`yyyy-MM-dd HH:mm:ss` (Spark's datetime patterns; what a text may lack "
                                           "stands in brackets: `[XXX]`)")
    zone: str = Field("UTC", description="zone of times that do not name one, be it as an offset (`+01`) or by name "
                                         "(`CET`)")

    _known = field_validator("zone")(known_zone)

    @model_validator(mode="after")
    def _one_zone(self) -> TimeFormat:
        if self.format == "iso" or self.format.startswith("epoch_"):
            return self
        words = [word for word in re.findall(r"'([^']*)'", self.format) if word.strip().upper() in ("Z", "UTC", "GMT")]
        if words and self.zone != "UTC":
            raise ValueError(f"the pattern says {words[0]!r} and `zone` says {self.zone!r}; leave out the wrong one")
        if self.without_zone and _zone_letters(self.without_zone):
            raise ValueError("zone letters stand in brackets within brackets; put them in brackets of their own: [XXX]")
        return self

    @property
    def without_zone(self) -> str | None:
        """The pattern of texts that name no zone; None where every text names one."""
        bare = re.sub(r"\[[^\[\]]*\]", lambda part: "" if _zone_letters(part[0]) else part[0], self.format)
        return None if _zone_letters(_required_part(bare)) else bare


def _required_part(pattern: str) -> str:
    """A pattern without what stands in brackets, which texts may lack."""
    bare = re.sub(r"\[[^\[\]]*\]", "", pattern)
    return bare if bare == pattern else _required_part(bare)


def _zone_letters(pattern: str) -> bool:
    """Whether a pattern holds a letter for a zone or an offset outside quotes."""
    return bool(re.search("[VzOXxZ]", re.sub(r"'[^']*'", "", pattern)))


class Limits(Part):
    """Values outside these are rejected; both ends are allowed."""

    earliest: datetime = Field(datetime(2000, 1, 1, tzinfo=UTC), description="earliest event_ts and arrived_at")
    latest: datetime | None = Field(None, description="latest of both; one day after the start of the job if not given")
    price: tuple[float, float] = Field((0.0, 10_000_000.0), description="lowest and highest price")
    quantity: tuple[int, int] = Field((1, 100_000), description="lowest and highest quantity")

    @field_validator("earliest", "latest", mode="before")
    @classmethod
    def _as_day(cls, given: Any) -> Any:
        if isinstance(given, str) and re.fullmatch(r"[\d_.+-]*", given) and given.count("-") != 2:  # 2015: seconds
            raise ValueError("expected a day or a time such as 2015-01-31 or 2015-01-31T10:00:00Z")
        return given

    @field_validator("price", "quantity")
    @classmethod
    def _lowest_first(cls, span: tuple[float, float]) -> tuple[float, float]:
        if span[0] > span[1]:
            raise ValueError("expected the lowest value first, then the highest")
        return span

    @field_validator("quantity")
    @classmethod
    def _within_the_column(cls, span: tuple[int, int]) -> tuple[int, int]:
        if max(map(abs, span)) > _MOST_QUANTITY:
            raise ValueError(f"expected numbers up to {_MOST_QUANTITY}")
        return span

    @field_validator("earliest", "latest")
    @classmethod
    def _in_utc(cls, at: datetime | None) -> datetime | None:
        if at is None:
            return None
        try:
            return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        except OverflowError:
            raise ValueError("expected a time within the years 1 to 9999, in UTC, too") from None


class Input(Part):
    """Files of one shape."""

    name: str = Field("events", description="name of this input in messages and in derived event ids")
    files: str = Field("*", description="glob for file names, or for paths below the given directory; a file that is "
                                        "given by itself to a mapping with one input need not match")
    optional: bool = Field(False, description="no such file is fine")
    format: Literal["csv", "json", "parquet"] = Field(description="csv (any delimiter), json (one object per line, or "
                                                                  "one array per file), parquet; text files may end "
                                                                  "in .gz")
    delimiter: str = Field(",", min_length=1, description="between the values of a csv line")
    quote: str = Field('"', max_length=1, description="around csv values that hold a delimiter; '' for none")
    comment: str = Field("", description="lines of text files that begin with this are no rows; '' for none")
    header: bool = Field(True, description="the first line of each csv file names its columns")
    columns: tuple[str, ...] = Field((), description="names of the columns of csv files without a header, in order")
    time: TimeFormat = Field(TimeFormat(), description="how times are written")
    repeats: Literal["duplicates", "events"] = Field("duplicates", description="rows of one file that are equal: "
                                                     "`duplicates` of one event, or `events` of their own, as where an "
                                                     "order's two equal pieces are two equal lines; not with event_id")
    sequence: str | None = Field(None, description="source column with a whole number that orders events of equal "
                                                   "time, whatever file they are in; it becomes the front of derived "
                                                   "event ids")
    events: dict[str, str] = Field(default_factory=dict, description="the shop's event word: ours; "
                                                                     "none given: the words are ours already")
    fields: dict[str, FieldSpec] = Field(description="column of EVENTS: where it comes from")

    @field_validator("delimiter")
    @classmethod
    def _tab(cls, given: str) -> str:
        return "\t" if given == "\\t" else given  # as it is where YAML finds it without quotes

    @model_validator(mode="after")
    def _fits(self) -> Input:
        _check_words(self.fields, FIELDS, "field")
        _check_words(self.events.values(), EVENT_TYPES, "event type")
        absent = [name for name in REQUIRED_FIELDS if name not in self.fields]
        if absent:
            raise ValueError(f"fields {', '.join(absent)} are required")
        if self.format == "csv" and self.header == bool(self.columns):
            raise ValueError("csv input either has `header: true` or names its `columns`")
        if set(self.delimiter) & {*self.quote, "\r", "\n"}:
            raise ValueError(f"delimiter {self.delimiter!r} cannot hold the quote {self.quote!r} or a line break")
        if self.columns:
            _check_words(self.source_columns, self.columns, "column")
        if self.repeats == "events" and "event_id" in self.fields:
            raise ValueError("`repeats: events` is for sources without ids; leave out fields.event_id")
        reserved = [name for name in self.source_columns if name.startswith(OWN_PREFIX)]
        if reserved:
            raise ValueError(f"source columns {reserved} start with {OWN_PREFIX}, which is ours")
        return self

    @property
    def source_columns(self) -> tuple[str, ...]:
        """Source columns the mapping reads, each once, in order of first use."""
        used = [name for spec in self.fields.values() for name in spec.columns]
        return tuple(dict.fromkeys([*used, *([self.sequence] if self.sequence else [])]))

    @property
    def words(self) -> dict[str, str]:
        return self.events or {word: word for word in EVENT_TYPES}


class Source(Part):
    """A whole mapping: one stream of events from one or more inputs."""

    name: str
    description: str = Field("", description="for those who read the mapping")
    limits: Limits = Field(Limits(), description="values outside these are rejected")
    ignore: tuple[str, ...] = Field((), description="globs, as in `files`, for files that are left out without a word")
    inputs: tuple[Input, ...] = Field(description="one or more; a file goes to the first that it matches")

    @model_validator(mode="after")
    def _distinct_names(self) -> Source:
        names = [i.name for i in self.inputs]
        if not names:
            raise ValueError("a source needs at least one input")
        if len(set(names)) < len(names):
            raise ValueError(f"inputs need different names, found {names}")
        return self


def load_source(name: str, directories: Iterable[Path] | None = None) -> Source:
    """The mapping `<name>.yaml` of conf/sources, or the mapping file `name`. Raises ConfigError with all faults."""
    folders = list(directories) if directories is not None else _mapping_directories()
    file = _mapping_file(name, folders)
    try:
        content = read_yaml(file.read_text(encoding="utf-8"))
    except KeyTwiceError as doubles:
        raise ConfigError([f"source mapping {file}: {doubles}; keep one of them"]) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as failure:
        raise ConfigError([f"source mapping {file} cannot be read: {failure}"]) from None
    if not isinstance(content, dict):
        raise ConfigError([f"source mapping {file} holds a {type(content).__name__}; expected `inputs:` with a list"])
    try:
        return Source.model_validate({"name": file.stem, **content})
    except ValidationError as invalid:
        raise ConfigError(f"{file}: {_explain(fault)}" for fault in invalid.errors()) from None


def _mapping_directories() -> list[Path]:
    """Of the working directory, of the checkout that this file lies in, and, where it is in a cluster's zip, of the one
    whose job this is."""
    checkouts = [Path(), Path(__file__).resolve().parents[3], Path(sys.argv[0]).resolve().parent.parent]
    return [checkout / "conf" / "sources" for checkout in checkouts]


def _mapping_file(name: str, folders: list[Path]) -> Path:
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    for folder in folders:
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    known = {file.stem for folder in folders if folder.is_dir() for file in folder.glob("*.yaml")}
    raise ConfigError([f"ingest.source: no mapping `{name}` in conf/sources{nearest(name, known)}; "
                       f"for a mapping of your own give the path of its .yaml file"])


def _check_words(found: Iterable[str], known: Iterable[str], noun: str) -> None:
    allowed = tuple(known)
    faults = [f"unknown {noun} `{word}`{nearest(word, allowed)}" for word in found if word not in allowed]
    if faults:
        raise ValueError("; ".join(faults))


def _explain(fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"unknown key `{where}`{nearest(str(fault['loc'][-1]), _keys_beside(fault['loc']))}"
    message = fault["msg"].removeprefix("Value error, ")
    found = f" (found {fault['input']!r})" if not isinstance(fault["input"], dict) else ""
    return f"{where}: {message}{found}" if where else message


def _keys_beside(path: tuple[Any, ...]) -> Iterable[str]:
    """Known keys of the part in which the last key of `path` stands."""
    part: Any = Source
    for step in path[:-1]:
        if isinstance(step, str) and step in getattr(part, "model_fields", {}):
            part = part.model_fields[step].annotation
        part = next((a for a in get_args(part) if a is not Ellipsis and a is not str), part)
    return getattr(part, "model_fields", {})
