"""Which session holds the first event of a published id, by whole columns, equals what a plain loop finds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import example, given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from purchasepath.config import Sessions
from purchasepath.sessions.engine.dirty_ranges import pack_ranges
from purchasepath.sessions.engine.redirects import SupersededFiles, redirects_of
from purchasepath.sessions.engine.rules import session_ids
from purchasepath.storage.data_files import DataFile
from purchasepath.tables.catalog import SESSIONS, SUPERSEDED_SESSIONS
from purchasepath.times import DAY_US
from tests.sessions.oracle import T0, cut, to_us
from tests.sessions.test_files import data_file

RULES = Sessions(gap_minutes=10, max_events=2)
Moment = tuple[str, int]
"""Visitor, minute."""


def id_of(user: str, us: int, event: str) -> str:
    [found] = session_ids([(user, us, event)])
    return found


def sessions_of(moments: Sequence[Moment]) -> tuple[pa.Table, dict[tuple[str, int, str], str]]:
    """The sessions of some events, and the one that holds each event."""
    events = [{"user_id": user, "event_id": f"e{n}", "event_ts": T0 + timedelta(minutes=minute), "tie_order": 0}
              for n, (user, minute) in enumerate(moments)]
    rows, holder = [], {}
    for session, _ in cut(events, RULES):
        times = [to_us(event["event_ts"]) for event in session]
        key = id_of(session[0]["user_id"], times[0], session[0]["event_id"])
        rows.append({"session_id": key, "user_id": session[0]["user_id"], "started_at": times[0],
                     "ended_at": times[-1], "offsets_us": [us - times[0] for us in times],
                     "event_ids": [event["event_id"] for event in session]})
        holder |= {(event["user_id"], us, event["event_id"]): key for event, us in zip(session, times, strict=True)}
    names = ["session_id", "user_id", "started_at", "ended_at", "offsets_us", "event_ids"]
    return pa.Table.from_pylist(rows, schema=pa.schema([SESSIONS.arrow_schema().field(n) for n in names])), holder


def published(firsts: Sequence[tuple[str, int, str]]) -> pa.Table:
    return pa.table({"session_id": pa.array([id_of(*first) for first in firsts], pa.string()),
                     "user_id": pa.array([user for user, *_ in firsts], pa.string()),
                     "started_at": pa.array([us for _, us, _ in firsts], pa.timestamp("us", "UTC"))})


MOMENTS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 40)), max_size=25)


@given(MOMENTS, st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 40), st.sampled_from(["e0", "e1", "x"]))))
@example([("a", 0)] * 5, [])  # three sessions in one instant
@example([("a", 0), ("a", 5), ("a", 5), ("a", 5), ("a", 9)], [("a", 5, "x")])
def test_homes_equal_those_of_a_plain_loop(moments: list[Moment], others: list[tuple[str, int, str]]) -> None:
    sessions, holder = sessions_of(moments)
    firsts = [*holder, *((user, to_us(T0 + timedelta(minutes=minute)), event) for user, minute, event in others)]
    assert redirects_of(published(firsts), sessions) == [holder.get(first) for first in firsts]


def test_a_day_is_told_anew_where_something_was_retired_or_superseded_once(spark: SparkSession, tmp_path: Path) -> None:
    def stored(day: int, rows: Sequence[tuple[str, int, str]], name: str) -> DataFile:
        file = tmp_path / f"session_date=2024-01-0{day + 1}" / name
        file.parent.mkdir(exist_ok=True)
        table = published(rows).append_column("superseded_by", pa.array(["of old"] * len(rows)))
        pq.write_table(table.append_column("run_id", pa.array(["of old"] * len(rows))), file)
        return data_file(file)

    us = to_us(T0)
    joined, holder = sessions_of([("a", 0), ("a", 5), ("b", 23 * 60 + 55), ("b", 24 * 60 + 4)])
    built = tmp_path / "session_date=2024-01-01" / "built.parquet"
    built.parent.mkdir()
    pq.write_table(joined, built)
    second, over_midnight = ("a", us + 300_000_000, "e1"), ("b", us + DAY_US + 240_000_000, "e3")
    nowhere, there = ("a", us + 60_000_000, "gone"), ("a", us, "e0")
    outside = ("a", us + 10_800_000_000, "elsewhere")

    def retired(*rows: tuple[str, int, str]) -> list[dict[str, object]]:
        return [{"session_id": id_of(*row), "session_date": T0.date() + timedelta(days=(row[1] - us) // DAY_US),
                 "from_us": row[1]} for row in rows]

    ranges = tmp_path / "ranges.parquet"
    pq.write_table(pack_ranges(pa.table({
        "user_id": ["a", "b"], "from_us": [us, us], "to_us": [us + 300_000_000, us + DAY_US + 240_000_000],
        "num_events": [3, 1], "retired": [retired(second, there), retired(over_midnight)],
    }), RULES), ranges)
    old = stored(0, [nowhere, outside], "old.parquet")
    untouched = stored(2, [("c", us + 2 * DAY_US, "c")], "untouched.parquet")
    days = [T0.date() + timedelta(days=n) for n in range(4)]
    files = SupersededFiles(spark, RULES, "now", days, (old, untouched), [(str(ranges),)],
                            (data_file(built),)).write(f"{tmp_path}/new")

    rows = {file.partition[-2:]: pq.ParquetFile(file.address).read().to_pylist() for file in files}
    assert files[-1].address == untouched.address
    assert sorted(rows) == ["01", "02", "03"]
    found = {row["session_id"]: (row["superseded_by"], row["run_id"]) for day in ("01", "02") for row in rows[day]}
    assert found == {id_of(*second): (holder[second], "now"), id_of(*nowhere): (None, "of old"),
                     id_of(*outside): ("of old", "of old"), id_of(*over_midnight): (holder[over_midnight], "now")}
    assert pq.read_schema(files[0].address).equals(SUPERSEDED_SESSIONS.file_schema())
