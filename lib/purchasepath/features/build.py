"""Bring the feature tables up to date with SESSIONS: cached days first, then the features at the as-of times."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from logging import Logger

import pyspark.sql.functions as F
from pyspark.sql import DataFrame, SparkSession

from purchasepath.config import Config
from purchasepath.errors import InputError
from purchasepath.features.as_of import as_of_times, tile_length_us
from purchasepath.features.cache import (
    Chunk,
    Days,
    as_of_days,
    event_days,
    next_chunk,
    partition_dates,
    session_days,
    source_days,
    stale,
    with_logins,
)
from purchasepath.features.merging import merge_items, merge_users
from purchasepath.features.persons import persons_behind
from purchasepath.features.recipe import as_of_recipe, partials_recipe, session_recipe
from purchasepath.features.sessions import summarize_sessions
from purchasepath.features.tiles import events_of_days, summarize_item_tiles, summarize_touches, summarize_user_tiles
from purchasepath.sessions.identity import link_accounts
from purchasepath.storage.warehouse import Transaction, Warehouse
from purchasepath.tables.catalog import EVENTS, SESSIONS
from purchasepath.tables.features import ITEM_FEATURES, SESSION_FEATURES, USER_FEATURES
from purchasepath.tables.partials import FEATURE_DAYS, ITEM_PARTIALS, TOUCHES, USER_PARTIALS
from purchasepath.tables.types import Table
from purchasepath.times import from_us

_HOLDERS = {"session_features": SESSION_FEATURES, "partials": USER_PARTIALS, "as_of": USER_FEATURES}
"""Cache → a table of it that has a partition for every day with events."""


@dataclass
class Report:
    """What was done, for the job's summary."""

    times: list[datetime]
    session_days: int = 0
    event_days: int = 0
    as_of_days: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    """rows written per table; none for partitions left as they were"""
    events: int = 0
    """events of the days that were computed; each day's are those of the sessions that began on it"""


@dataclass(frozen=True)
class _Span:
    """What SESSIONS spans in time, and how much it holds."""

    first: datetime
    last: datetime
    reach_days: int
    """on how many days after its first one a session may hold events"""
    events: Mapping[date, int]
    """in the sessions that began on the day"""


@dataclass(frozen=True)
class _Plan:
    """What the tables should hold by the state of SESSIONS that is pinned, and which partitions do not yet."""

    span: _Span
    times: list[datetime]
    wanted: Mapping[str, Days]  # cache → its days
    cached: Mapping[str, Days]
    stale: Mapping[str, list[date]]


class FeatureBuilder:
    """Finds what is out of date and computes it, chunk by chunk; every commit stands on its own."""

    def __init__(self, spark: SparkSession, warehouse: Warehouse, config: Config, run_id: str, log: Logger) -> None:
        self.spark, self.warehouse, self.config, self.run_id, self.log = spark, warehouse, config, run_id, log
        self.tile_us = tile_length_us(config.features.every_hours)
        self._spanned: tuple[Mapping[str, str], _Span] | None = None

    def build(self) -> Report:
        """Compute all that is out of date.

        Between two commits another job may have changed SESSIONS, so each begins with a new look at the table.
        """
        plan = self._plan()
        report = Report(plan.times)
        done: set[Chunk] = set()
        while chunk := self._next_chunk(plan):
            if chunk in done:
                raise RuntimeError(f"{chunk} was computed and is still out of date")
            done.add(chunk)
            self._build_chunk(chunk, plan, report, f"{self.run_id}-{len(done):04d}")
            plan = self._plan()
        report.times = plan.times
        if plan.stale["as_of"]:
            self._build_as_of(plan, report)
        return report

    def _plan(self) -> _Plan:
        sources = self.warehouse.fingerprints(SESSIONS)
        span = self._span(sources)
        times = as_of_times(span.first, span.last, self.config.features.every_hours)
        began = partition_dates(sources)
        partials = event_days(sources, span.reach_days, partials_recipe(self.config))
        wanted: dict[str, Days] = {
            "session_features": session_days(sources, session_recipe()),
            "partials": partials,
            "as_of": as_of_days(times, self._with_logins(partials), as_of_recipe(self.config)),
        }
        cached = self._cached()
        present = {name: partition_dates(self.warehouse.fingerprints(table)) for name, table in _HOLDERS.items()}
        # a session has an event on the day it begins; before the first as-of day with rows nobody need be known
        known = {day for day in wanted["as_of"] if not present["as_of"] or day > min(present["as_of"])}
        expected = {"session_features": began, "partials": began, "as_of": known}
        out = {name: stale(days, cached[name], present=present[name], expected=expected[name])
               for name, days in wanted.items()}
        return _Plan(span, times, wanted, cached, out)

    def _with_logins(self, partials: Days) -> Days:
        """What as-of times are computed from: where persons are asked for, the logins in EVENTS, too."""
        return with_logins(partials, self.warehouse.fingerprints(EVENTS)) if self._asks_for_persons else partials

    @property
    def _asks_for_persons(self) -> bool:
        return self.config.features.identity == "person"

    def _next_chunk(self, plan: _Plan) -> Chunk:
        return next_chunk(plan.stale["session_features"], plan.stale["partials"], self.config.features.chunk_days)

    def _build_chunk(self, chunk: Chunk, plan: _Plan, report: Report, name: str) -> None:
        sessions = self.warehouse.read(SESSIONS)
        with self.warehouse.transaction(name) as tx:
            if chunk.session_days:
                own = sessions.where(F.col("session_date").isin(*chunk.session_days))
                self._write(tx, SESSION_FEATURES, summarize_sessions(own), chunk.session_days, report)
            if chunk.event_days:
                begun = source_days(chunk.event_days, plan.span.reach_days)
                holding = sessions.where(F.col("session_date").isin(*begun))
                events = events_of_days(holding, chunk.event_days, self.tile_us)
                users = summarize_user_tiles(events, holding, self.config.sessions)
                self._write(tx, USER_PARTIALS, users, chunk.event_days, report)
                self._write(tx, ITEM_PARTIALS, summarize_item_tiles(events), chunk.event_days, report)
                self._write(tx, TOUCHES, summarize_touches(events), chunk.event_days, report)
            self._record(tx, plan, {"session_features": chunk.session_days, "partials": chunk.event_days})
        report.session_days += len(chunk.session_days)
        report.event_days += len(chunk.event_days)
        report.events += sum(plan.span.events.get(day, 0) for day in {*chunk.session_days, *chunk.event_days})
        self.log.info("partial aggregates of %d days are up to date", report.event_days)

    def _build_as_of(self, plan: _Plan, report: Report) -> None:
        """All as-of times from the first one that is out of date on, in one transaction."""
        days = plan.stale["as_of"]
        times = [at for at in plan.times if at.date() >= days[0]]
        days = sorted({*days, *(at.date() for at in times)})
        partials = {table: self.warehouse.read(table) for table in (USER_PARTIALS, ITEM_PARTIALS, TOUCHES)}
        with self.warehouse.transaction(f"{self.run_id}-as_of") as tx:
            items = merge_items(partials[ITEM_PARTIALS], partials[TOUCHES], times)
            self._write(tx, ITEM_FEATURES, items, days, report)
            users = merge_users(partials[USER_PARTIALS], partials[TOUCHES], times, self._persons(tx, times))
            self._write(tx, USER_FEATURES, users, days, report)
            self._record(tx, plan, {"as_of": days})
        report.as_of_days = len(days)

    def _persons(self, tx: Transaction, times: list[datetime]) -> DataFrame | None:
        """Who stands behind whom at `times`, from EVENTS themselves: a stored map might be older than they are."""
        if not self._asks_for_persons:
            return None
        identities = tx.materialize(link_accounts(self.warehouse.read(EVENTS)), "identities")
        return tx.materialize(persons_behind(identities, times), "persons")

    def _write(self, tx: Transaction, table: Table, frame: DataFrame, days: Collection[date], report: Report) -> None:
        rows = tx.write(table, frame, partitions=[{table.partition_by[0]: day} for day in days])
        report.rows[table.name] = report.rows.get(table.name, 0) + rows

    def _record(self, tx: Transaction, plan: _Plan, written: Mapping[str, Collection[date]]) -> None:
        """Note the fingerprints of what was written, in the same transaction."""
        rows = []
        for cache, cached in plan.cached.items():
            days = {**cached, **{day: plan.wanted[cache].get(day) for day in written.get(cache, ())}}
            rows += [dict(zip(FEATURE_DAYS.names, (cache, day, print_), strict=True))
                     for day, print_ in sorted(days.items()) if print_ is not None]
        tx.write(FEATURE_DAYS, FEATURE_DAYS.frame(self.spark, rows).coalesce(1))

    def _cached(self) -> dict[str, dict[date, str]]:
        cached: dict[str, dict[date, str]] = {name: {} for name in _HOLDERS}
        if self.warehouse.exists(FEATURE_DAYS):
            for row in self.warehouse.read(FEATURE_DAYS).collect():  # one small row per cache and day
                cached[row["cache"]][row["day"]] = row["fingerprint"]
        return cached

    def _span(self, sources: Mapping[str, str]) -> _Span:
        """The span of SESSIONS with these fingerprints. It is computed once: most commits leave SESSIONS as it was."""
        if self._spanned is None or self._spanned[0] != sources:
            self._spanned = sources, find_span(self.warehouse.read(SESSIONS))
        return self._spanned[1]


def find_span(sessions: DataFrame) -> _Span:
    """Raises InputError where there is no session."""
    reach = F.date_diff(F.to_date("ended_at"), "session_date")
    days = sessions.groupBy("session_date").agg(
        F.unix_micros(F.min("started_at")).alias("first"), F.unix_micros(F.max("ended_at")).alias("last"),
        F.max(reach).alias("reach"), F.sum("num_events").alias("events")).collect()  # one small row per day
    if not days:
        raise InputError("table sessions is empty: there is nothing to compute features from; "
                         "look at the input of ./spark-submit.sh ingest")
    return _Span(
        from_us(min(day["first"] for day in days)), from_us(max(day["last"] for day in days)),
        max(1, *(day["reach"] for day in days)),  # at least 1: so that the first session over a midnight changes none
        {day["session_date"]: day["events"] for day in days})
