"""Fields: the source's strings become typed columns of EVENTS, with the rules each of them must keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyspark.sql.functions as F
from pyspark.sql import Column

from purchasepath.sources.exact import named_column
from purchasepath.sources.mapping import FIELDS, FieldSpec, Input, Limits, TimeFormat
from purchasepath.sources.raw import RAW
from purchasepath.tables.catalog import EVENTS
from purchasepath.tables.quality import Rule

NOUNS = {"timestamp": "time", "double": "number", "int": "whole number", "boolean": "yes or no"}
LATEST_EPOCH_US = 253_402_300_799_000_000  # the last second of the year 9999
EPOCH_UNITS_US = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
_CLOCK = r"^\d{4}-\d\d-\d\d([T ]\d{1,2}(:\d{1,2}(:\d{1,2}(\.\d+)?)?)?)?"
DERIVED = ("event_id", "arrived_at")  # have a value of their own where the source has none


@dataclass(frozen=True)
class Range:
    """Smallest and largest accepted value, both included."""

    low: Column
    high: Column

    def excludes(self, value: Column) -> Column:
        return ~value.between(self.low, self.high)


def text_columns(spec: Input) -> dict[str, Column]:
    """EVENTS field → its string in the source, for the mapped fields; null where missing or not for this event."""
    event_type = our_event_type(_origin(spec.fields["event_type"]), spec.words)
    texts = {}
    for name, field in spec.fields.items():
        text = _origin(field)
        if field.only_for:
            text = F.when(event_type.isin(*field.only_for), text)
        texts[name] = text
    return texts


def typed_columns(spec: Input, texts: Mapping[str, Column]) -> dict[str, Column]:
    """EVENTS field → typed value, for every field; null where there is none or it does not parse."""
    typed = {}
    for name in FIELDS:
        kind = EVENTS.column(name).type
        if name not in texts:
            typed[name] = F.lit(None).cast(kind)
        elif name == "event_type":
            typed[name] = our_event_type(texts[name], spec.words)
        else:
            typed[name] = typed_value(texts[name], kind, spec.time)
            if kind == "timestamp" and spec.format == "parquet" and spec.time.format != "iso":
                # a column of times has its own format, whatever the others' is
                typed[name] = F.coalesce(typed[name], parse_time(texts[name], TimeFormat(zone=spec.time.zone)))
    return typed


def typed_value(text: Column, kind: str, time: TimeFormat) -> Column:
    """`text` as a value of the Spark type `kind`; null where it is not one."""
    if kind == "timestamp":
        return parse_time(text, time)
    if kind in ("int", "double"):  # Java also takes 1d, 2F and 0x1p3 for numbers
        text = F.when(~text.rlike("[dDfF]$|[xX]"), text)
    if kind == "int":
        number = text.try_cast("double")  # 2 and 2.0 are whole, 2.5 is not
        return F.when(number == F.rint(number), number.try_cast("int"))  # floor fails beyond 64 bits
    return text if kind == "string" else text.try_cast(kind)


def parse_time(text: Column, time: TimeFormat) -> Column:
    """The UTC timestamp `text` stands for, to the microsecond; null where it does not fit the format."""
    if time.format in EPOCH_UNITS_US:
        micros = text.try_cast("decimal(24,6)") * F.lit(EPOCH_UNITS_US[time.format])
        return F.when(micros.between(0, LATEST_EPOCH_US), F.timestamp_micros(micros.cast("bigint")))
    if time.format != "iso":
        return _parse_pattern(text, time)
    # RFC 3339 allows the small letter, Spark does not; names of zones may end in it, too (America/La_Paz)
    text = F.when(text.endswith("z"), F.regexp_replace(text, r"(\d ?)z$", "$1Z")).otherwise(text)
    # Spark also takes "12:30" (today!) and "2024" for timestamps; we do not
    dated = (text.substr(5, 1) == "-") & (text.substr(8, 1) == "-")
    return F.when(dated, (text if time.zone == "UTC" else _with_zone(text, time.zone)).try_cast("timestamp"))


def _with_zone(text: Column, zone: str) -> Column:
    """`text` with the zone it names, or else `zone`, so that nothing else decides whether it names one.

    What follows the clock's digits is a zone, in any of the forms that Spark knows (+01, CET, UTC+1, Europe/Berlin);
    if it is none of them, the text is no time.
    """
    clock = F.regexp_extract(text, _CLOCK, 0)
    named = F.trim(F.substr(text, F.length(clock) + F.lit(1)))
    missing = F.when(F.length(clock) == 10, " 00:00:00").when(~clock.contains(":"), ":00:00").when(
        ~clock.like("%:%:%"), ":00").otherwise("")
    return F.concat(clock, missing, F.lit(" "), F.when(named == "", zone).otherwise(named))


def _parse_pattern(text: Column, time: TimeFormat) -> Column:
    """By a pattern: its zone letters say that the text names a zone; those in brackets say that it may."""
    given = F.try_to_timestamp(text, F.lit(time.format))
    local = time.without_zone
    if local is None:
        return given
    at = _from_zone(F.try_to_timestamp(text, F.lit(local)), time.zone)
    return at if local == time.format else F.coalesce(at, given)


def our_event_type(word: Column, words: Mapping[str, str]) -> Column:
    """The event type that the shop's word stands for; null for an unknown word."""
    answer: Column = F.lit(None).cast("string")
    for theirs, ours in words.items():
        answer = F.when(word == theirs, F.lit(ours)).otherwise(answer)
    return answer


def field_rules(texts: Mapping[str, Column], typed: Mapping[str, Column], limits: Limits, now: datetime) -> list[Rule]:
    """What every accepted event keeps: present where required, of its type, within the limits."""
    ranges = field_ranges(limits, now)
    rules = []
    for column in EVENTS.columns:
        name = column.name
        if name not in texts:
            continue
        if not column.nullable and column.default is None and name != "arrived_at":
            rules.append(Rule(f"{name} is missing", texts[name].isNull()))
        unread = texts[name].isNotNull() & typed[name].isNull()
        if name == "event_type":
            rules.append(Rule("event_type is unknown", unread))
        elif column.type in NOUNS:
            rules.append(Rule(f"{name} is not a {NOUNS[column.type]}", unread))
        if name in ranges:
            rules.append(Rule(f"{name} is out of range", ranges[name].excludes(typed[name])))
    return rules


def field_ranges(limits: Limits, now: datetime) -> dict[str, Range]:
    """EVENTS field → accepted range. NaN is above every number, so it is out of range."""
    latest = limits.latest or now + timedelta(days=1)
    times = Range(F.lit(limits.earliest), F.lit(latest))
    numbers = {"price": limits.price, "quantity": limits.quantity}
    return {"event_ts": times, "arrived_at": times} | {
        name: Range(F.lit(low), F.lit(high)) for name, (low, high) in numbers.items()}


def content_hash(spec: Input) -> Column:
    """128 bits of SHA-256 over the row's text and the input's name: equal for exact duplicates only.

    With `sequence`, that number stands in front, padded, so that events of equal time sort by it.
    """
    digest = F.substring(F.sha2(F.concat(F.lit(f"{spec.name}\n"), F.col(RAW)), 256), 1, 32)
    return F.concat(F.format_string("%010d-", sequence_number(spec)), digest) if spec.sequence else digest


def sequence_number(spec: Input) -> Column:
    """What the shop numbers its events with (bigint); 0 where it says nothing."""
    number = named_column(spec.sequence) if spec.sequence else F.lit(None).cast("string")
    return F.coalesce(number.try_cast("bigint"), F.lit(0))


def _origin(field: FieldSpec) -> Column:
    if field.constant is not None:
        return F.lit(field.constant)
    value = F.expr(field.sql).cast("string") if field.sql else named_column(str(field.column))
    value = F.nullif(value, F.lit("")) if field.sql else value
    return F.when(~value.isin(*field.missing), value) if field.missing else value


def _from_zone(at: Column, zone: str) -> Column:
    return at if zone == "UTC" else F.to_utc_timestamp(at, zone)
