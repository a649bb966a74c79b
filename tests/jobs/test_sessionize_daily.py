"""ingest and sessionize, again and again, on a shop's log that arrives in pieces and in no order."""

from __future__ import annotations

import gzip
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs import ingest, sessionize, simulate
from purchasepath.config import load_config
from purchasepath.job import Job
from purchasepath.tables.catalog import (
    EVENT_CHANGES,
    EVENTS,
    LATE_EVENTS,
    SESSIONIZE_BOOKS,
    SESSIONS,
    SUPERSEDED_SESSIONS,
)
from purchasepath.tables.types import Table
from tests.sources.reading import values, write_files

PIECES, REPEATED, SEED = 24, 6, 20240101


@pytest.mark.slow
def test_tens_of_random_arrivals_give_the_tables_of_one_run(spark: SparkSession, tmp_path: Path) -> None:
    def job(name: str, warehouse: str, raw: Path | str, *more: str) -> Job:
        return Job(name, load_config([], [
            f"paths.warehouse={tmp_path / warehouse}", f"paths.raw={raw}", f"paths.runs={tmp_path / 'runs'}",
            f"ingest.pseudonym_key_file={tmp_path / 'key'}", "ingest.max_rejected_share=1",
            # late and repeated deliveries are common, and caps cut within chains
            "sessions.late_horizon_days=2", "sessions.max_events=12", "sessions.max_hours=0.5", *more]), spark=spark)

    simulate.run(job("simulate", "none", tmp_path / "shop", "simulate.users=60", "simulate.days=8", "simulate.items=40",
                     "simulate.bot_share=0.05", "simulate.late_share=0.2", "simulate.duplicate_share=0.2"))
    lines = [line for file in sorted((tmp_path / "shop" / "events").glob("*.gz"))
             for line in gzip.decompress(file.read_bytes()).decode().splitlines(keepends=True)]
    rng = Random(SEED)
    pieces: list[list[str]] = [[] for _ in range(PIECES)]
    for line in lines:
        rng.choice(pieces).append(line)
    raws = [write_files(tmp_path / f"piece{n}", {"part-0.txt": "".join(piece)}) for n, piece in enumerate(pieces)]

    modes = []
    for raw in [*raws, *rng.sample(raws, REPEATED)]:
        ingest.run(job("ingest", "daily", raw))
        modes.append(sessionize.run(job("sessionize", "daily", raw)).lines[0].split(":")[0])
    assert modes == ["full (nothing was built before)", *["incremental"] * (PIECES + REPEATED - 1)]

    # the same files: where a record stands in its file tells the order of events of one instant
    everything = write_files(tmp_path / "everything", {
        f"part-{n}.txt": "".join(piece) for n, piece in enumerate(pieces)})
    ingest.run(job("ingest", "once", everything))
    sessionize.run(job("sessionize", "once", everything))

    def rows(warehouse: str, table: Table) -> list[Any]:
        return values(job("check", warehouse, everything).warehouse.read(table), "*")

    for table in (EVENTS, SESSIONS, LATE_EVENTS):
        assert rows("daily", table) == rows("once", table)
        assert len(rows("daily", table)) > 30
    assert rows("daily", EVENT_CHANGES) == rows("once", SUPERSEDED_SESSIONS) == []
    sessions = {row.session_id for row in job("check", "once", everything).warehouse.read(SESSIONS).collect()}
    gone = job("check", "daily", everything).warehouse.read(SUPERSEDED_SESSIONS).collect()
    assert not sessions & {row.session_id for row in gone}
    assert {row.superseded_by for row in gone} <= {None, *sessions}
    assert len(gone) > 10
    [last] = job("check", "daily", everything).warehouse.read(SESSIONIZE_BOOKS).orderBy("run_number").tail(1)
    assert (last.events, last.late) == (len(rows("once", EVENTS)), len(rows("once", LATE_EVENTS)))
