"""The books of an ingest run: rows read = accepted + duplicates + rejected, to the row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyspark.sql.functions as F
from pyspark.sql import DataFrame, SparkSession

from purchasepath.errors import TooManyCollisionsError, TooManyRejectedError
from purchasepath.places import local_path
from purchasepath.sources.cleaning import ACCEPTED, COLLISION, DUPLICATE, FILE, RAW, REASONS, REJECTED, VERDICT
from purchasepath.tables.catalog import INGEST_BOOKS

SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class Books:
    """Counts of raw rows. `known` of the duplicates were there before; `replaced` rows of earlier runs gave way.

    `collisions` of the duplicates and replaced rows had other contents than the row that has their id now.
    """

    read: int
    accepted: int
    duplicates: int
    rejected: int
    known: int = 0
    replaced: int = 0
    collisions: int = 0

    @property
    def collision_share(self) -> float:
        return self.collisions / self.read if self.read else 0.0

    @property
    def rejected_share(self) -> float:
        return self.rejected / self.read if self.read else 0.0

    @property
    def balanced(self) -> bool:
        return self.read == self.accepted + self.duplicates + self.rejected

    def check(self) -> Books:
        """These books. Raises RuntimeError, a defect, unless they balance."""
        if not self.balanced:
            raise RuntimeError(f"the books do not balance: {self}")
        return self

    def __str__(self) -> str:
        return (f"read {self.read:,} = accepted {self.accepted:,} + duplicates {self.duplicates:,} "
                f"+ rejected {self.rejected:,}")

    @property
    def news(self) -> str:
        """What the run added to earlier ones."""
        return (f"added to earlier runs: {self.accepted - self.replaced:,} events are new, {self.known:,} were known "
                f"before, {self.replaced:,} displaced one that arrived later")


@dataclass(frozen=True)
class Rejection:
    """One reason: rows rejected for it, and one of them."""

    reason: str
    rows: int
    example: str
    file: str

    def __str__(self) -> str:
        return f"{self.rows:,} x {self.reason}"


def count_verdicts(judged: DataFrame, read: int) -> Books:
    """Books of the judged rows against `read`, the rows counted where they were read."""
    found = {row[VERDICT]: row["count"] for row in judged.groupBy(VERDICT).count().collect()}
    collisions = found.get(COLLISION, 0)
    return Books(read, found.get(ACCEPTED, 0), found.get(DUPLICATE, 0) + collisions, found.get(REJECTED, 0),
                 collisions=collisions)


def top_rejections(judged: DataFrame, most: int = 5) -> list[Rejection]:
    """The most frequent reasons; a row with several counts for each. Ties by reason."""
    rejected = judged.where(F.col(VERDICT) == REJECTED).select(RAW, FILE, F.explode(REASONS).alias("reason"))
    counted = rejected.groupBy("reason").agg(F.count("*").alias("rows"), F.min(F.struct(RAW, FILE)).alias("one"))
    found = counted.orderBy(F.desc("rows"), "reason").limit(most).collect()
    return [Rejection(row["reason"], row["rows"], row["one"][RAW], row["one"][FILE]) for row in found]


def find_rejections(judged: DataFrame, books: Books, most: float) -> list[Rejection]:
    """The most frequent reasons. Raises TooManyRejectedError where a larger share than `most` was rejected."""
    rejections = top_rejections(judged) if books.rejected else []
    check_rejected_share(books, rejections, most)
    return rejections


def check_rejected_share(books: Books, rejections: list[Rejection], most: float) -> None:
    """Raise TooManyRejectedError, with top reasons and three examples, when the share is above `most`."""
    if books.rejected_share <= most:
        return
    reasons = "".join(f"\n  {rejection}" for rejection in rejections)
    examples = "".join(f"\n  {r.reason} ({local_path(r.file)}):\n    {r.example[:SHOWN_CHARACTERS]}"
                       for r in rejections[:3])
    raise TooManyRejectedError(
        f"{books.rejected:,} of {books.read:,} raw rows were rejected ({books.rejected_share:.1%}); at most "
        f"{most:.1%} are allowed. Nothing was written\nreasons:{reasons}\nexamples:{examples}\n"
        f"adapt the source mapping, or allow more with --set ingest.max_rejected_share=<share>"
    )


def collision_examples(judged: DataFrame, most: int = 3) -> list[str]:
    """A few rows that were dropped because another row of the delivery has their event id: ids and files.

    Not their texts: the run's manifest keeps these lines, and a text holds the visitor's id.
    """
    rows = judged.where(F.col(VERDICT) == COLLISION).select("event_id", FILE).orderBy("event_id", FILE).limit(most)
    return [f"event id {row['event_id']!r} ({local_path(row[FILE])})" for row in rows.collect()]


def find_collisions(judged: DataFrame, books: Books, earlier: Sequence[str], most: float) -> list[str]:
    """Examples from the delivery, and of the ids in `earlier` that a row of the history has; [] without collisions.

    Raises TooManyCollisionsError where they are a larger share than `most` of the rows read.
    """
    examples = collision_examples(judged) if books.collisions else []
    examples += [f"event id {event_id!r}, as accepted by an earlier run" for event_id in earlier]
    check_collision_share(books, examples, most)
    return examples


def check_collision_share(books: Books, examples: Sequence[str], most: float) -> None:
    """Raise TooManyCollisionsError when more rows than `most` share their event id with a row of other contents."""
    if books.collision_share <= most:
        return
    shown = "".join(f"\n  {example}" for example in examples)
    raise TooManyCollisionsError(
        f"{books.collisions:,} of {books.read:,} raw rows have the event id of another row and other contents than it "
        f"({books.collision_share:.1%}); at most {most:.1%} are allowed, for of an id only one row is kept. Nothing "
        f"was written\nexamples:{shown}\nmake the ids of several exports differ in the mapping, for example "
        f"event_id: {{sql: \"concat('shop1-', id)\", uses: [id]}}, or leave event_id out; if rows of one id are "
        f"versions of one event, allow more with --set ingest.max_collision_share=<share>"
    )


def summary_lines(what: str, books: Books, *, added: bool, rejections: Sequence[Rejection], remarks: Sequence[str],
                  collided: Sequence[str], others: Sequence[str]) -> list[str]:
    """What the run of `what` tells: its books, and all that was not simply accepted."""
    lines = [f"{what}: {books}", *([books.news] if added else []), *[f"rejected: {r}" for r in rejections], *remarks]
    if books.collisions:
        lines.append(f"{books.collisions:,} rows had another row's event id but other contents, and were dropped or "
                     f"displaced it: {'; '.join(collided)}")
    if others:
        lines.append(f"earlier runs read {', '.join(others)}; to begin anew: --set ingest.history=replace")
    return lines


def other_sources(earlier: DataFrame, source: str) -> list[str]:
    """Sources other than `source` whose events are in EVENTS, from the books of earlier runs."""
    found: set[str] = set()
    for run in in_order(run.asDict() for run in earlier.collect()):  # one row per run
        found = {run["source"]} if run["history"] == "replace" else found | {run["source"]}
    return sorted(found - {source})


def in_order(runs: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows of books, oldest run first: by their commits' numbers, for clocks may be set back. Runs of releases that
    kept none come first, by their clocks."""
    return sorted(runs, key=lambda run: (run["run_number"] or 0, run["finished_at"], run["run_id"]))


def count_events(books: DataFrame) -> int | None:
    """Rows of EVENTS by INGEST_BOOKS; None where they hold no run."""
    return count_events_of([run.asDict() for run in books.collect()])  # one row per run


def count_events_of(runs: Iterable[Mapping[str, Any]]) -> int | None:
    """Rows of EVENTS by these rows of INGEST_BOOKS; None where there is no run."""
    count: int | None = None
    for run in in_order(runs):
        count = (0 if run["history"] == "replace" or count is None else count) + run["accepted"] - run["replaced"]
    return count


def books_row(spark: SparkSession, books: Books, *, run_id: str, run_number: int, source: str, files: int, history: str
              ) -> DataFrame:
    """One row of INGEST_BOOKS."""
    return INGEST_BOOKS.frame(spark, [{
        "run_id": run_id, "run_number": run_number, "source": source, "files": files, "read": books.read,
        "accepted": books.accepted, "duplicates": books.duplicates, "rejected": books.rejected, "history": history,
        "replaced": books.replaced, "finished_at": datetime.now(UTC),
    }])
