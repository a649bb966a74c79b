"""SESSIONS written as files by tasks that read files: the same rows as of a frame, whatever the files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyspark.sql.functions as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from purchasepath.config import Sessions
from purchasepath.sessions.engine import touched
from purchasepath.sessions.engine.chains import pack_stretches
from purchasepath.sessions.engine.hashing import spark_hash
from purchasepath.sessions.engine.source import FileSource
from purchasepath.sessions.engine.touched import Intervals, KeptSessions
from purchasepath.sessions.engine.writing import SessionFiles
from purchasepath.sessions.lateness import Timely
from purchasepath.storage.warehouse import StagedFile
from purchasepath.tables.catalog import EVENTS, SESSIONS
from tests.sessions.oracle import Event, sessions_of, t
from tests.sessions.test_summary import SMALL, event


def write_events(directory: Path, files: Sequence[Sequence[Event]], without: Sequence[str] = ()) -> list[Path]:
    schema = EVENTS.arrow_schema()
    directory.mkdir()
    for number, rows in enumerate(files):
        filled = [{**{c.name: c.default for c in EVENTS.columns}, **row, "event_date": row["event_ts"].date()}
                  for row in rows]
        table = pa.Table.from_pylist(filled, schema=schema).drop_columns(list(without))
        pq.write_table(table, directory / f"{number}.parquet", row_group_size=40)
    return sorted(directory.glob("*.parquet"))


def read(spark: SparkSession, files: Sequence[StagedFile]) -> dict[str, dict[str, Any]]:
    rows = {}
    for file in files:
        for row in pq.ParquetFile(file.path).read().to_pylist():
            assert row["session_id"] not in rows
            rows[row["session_id"]] = {**row, "partition": file.partition}
    if files:  # and as Spark reads them, by the declaration
        stored = spark.read.schema(SESSIONS.spark_schema()).parquet(*(str(file.path) for file in files))
        assert stored.select(F.sum(F.size("event_ids"))).first() == (sum(r["num_events"] for r in rows.values()),)
    return rows


def test_sessions_of_files_equal_the_plain_loop(spark: SparkSession, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    events = [event(n, t(float(rng.integers(0, 4000)), us=int(rng.integers(0, 3))), user_id=f"u{n % 7}",
                    campaign=["a", "b", None][n % 3], event_type=["view", "purchase"][n % 2], price=0.1 * n,
                    item_id=f"i{n % 4}") for n in range(400)]
    late = event(900, t(7), user_id="u1", arrived_at=t(7) + timedelta(days=3, microseconds=1))
    kiosk = [event(1000 + n, t(n), user_id="kiosk", campaign=["a", "b"][n // 40 % 2]) for n in range(200)]
    everything = [*events, *kiosk, late]
    everything = [everything[n] for n in rng.permutation(len(everything))]
    files = write_events(tmp_path / "events", [everything[:500], everything[500:]], without=["brand", "device"])
    source = FileSource(spark, EVENTS, files, Timely(SMALL))
    written = SessionFiles(source, SMALL, bucket_events=60).write(tmp_path / "out")
    found = read(spark, written)
    expected = sessions_of([*events, *kiosk], SMALL)
    assert {key: {name: row[name] for name in expected[key] if name != "session_date"}
            for key, row in found.items()} == {
        key: {name: value for name, value in row.items() if name != "session_date"} for key, row in expected.items()}
    assert all(row["partition"] == f"session_date={row['started_at'].date()}" for row in found.values())


def test_no_files_are_no_sessions(spark: SparkSession, tmp_path: Path) -> None:
    assert SessionFiles(FileSource(spark, EVENTS, [], Timely(SMALL)), SMALL).write(tmp_path) == []
    nobody = write_events(tmp_path / "events", [[]])
    assert SessionFiles(FileSource(spark, EVENTS, nobody, Timely(SMALL)), SMALL).write(tmp_path / "out") == []


@st.composite
def intervals(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    found = []
    for user in draw(st.sets(st.sampled_from("abcd"))):
        edges = sorted(draw(st.sets(st.integers(0, 30), max_size=8)))
        edges = edges[:len(edges) // 2 * 2]
        found += [(user, first, last) for first, last in zip(edges[::2], edges[1::2], strict=True)]
    return draw(st.permutations(found))


@settings(max_examples=100, deadline=None)
@given(rows=intervals(), moments=st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 31))),
       alike=st.booleans())
def test_moments_lie_in_the_intervals_of_their_visitor(
        rows: list[tuple[str, int, int]], moments: list[tuple[str, int]], alike: bool) -> None:
    users, first, last = zip(*rows, strict=True) if rows else ((), (), ())
    stored = pa.table({"user_id": pa.array(users, pa.string()), "from_us": pa.array(first, pa.int64()),
                       "to_us": pa.array(last, pa.int64())})
    who, when = pa.array([user for user, _ in moments], pa.string()), np.array([us for _, us in moments], dtype=int)
    hash_ids = touched.hash_ids
    touched.hash_ids = (lambda ids: np.zeros(len(ids), dtype=np.uint64)) if alike else hash_ids
    try:
        found = Intervals(stored).hold(who, when)
    finally:
        touched.hash_ids = hash_ids
    assert found.tolist() == [any(u == user and a <= us <= b for u, a, b in rows) for user, us in moments]
    assert Intervals(stored).hold(who.dictionary_encode(), when).tolist() == found.tolist()


def test_files_that_lose_no_session_stay_as_they_are(spark: SparkSession, tmp_path: Path) -> None:
    written = []
    for number in range(2):
        events = write_events(tmp_path / f"events{number}", [[event(n, t(60 * n), user_id=f"v{number}")
                                                              for n in range(6)]])
        source = FileSource(spark, EVENTS, events, Timely(Sessions()))
        written += SessionFiles(source, Sessions()).write(tmp_path / "old")
    ids = pq.read_table(written[0].path)["session_id"].to_pylist()
    day = t(0).date()
    retired = [{"session_id": key, "session_date": day, "from_us": 0} for key in (ids[2], ids[4])]
    touched = pa.table({"user_id": ["v0"], "from_us": [0], "to_us": [0], "num_events": [1], "retired": [retired]})
    pq.write_table(pack_stretches(touched, Sessions()), tmp_path / "stretches.parquet")
    stretches = (tmp_path / "stretches.parquet",)
    [path, other] = (file.path for file in written)
    files = KeptSessions(spark, (path, other), stretches, small_bytes=0).write(tmp_path / "new")
    assert files[1].path == other
    assert files[0].path != path
    before = pq.ParquetFile(path).read()
    kept = before.filter(pc.invert(pc.is_in(before["session_id"], pa.array([ids[2], ids[4]]))))
    assert pq.ParquetFile(files[0].path).read().equals(kept)
    assert [file.partition for file in files] == ["session_date=2024-01-01"] * 2
    # small files of a day that loses a session become one, in order; those of a day that loses none stay
    [joined] = KeptSessions(spark, (other, path), stretches).write(tmp_path / "joined")
    assert pq.ParquetFile(joined.path).read().equals(pa.concat_tables([kept, pq.ParquetFile(other).read()])
                                                     .combine_chunks())
    assert [file.path for file in KeptSessions(spark, (other,), stretches).write(tmp_path / "none")] == [other]


def test_spark_deals_as_we_compute(spark: SparkSession) -> None:
    numbers = [0, 1, -1, 7, 123_456, 2**31 - 1, -(2**31)]
    frame = spark.createDataFrame([(n,) for n in numbers], "n int").select(F.hash("n").alias("hash"))
    assert [row["hash"] for row in frame.collect()] == spark_hash(np.array(numbers)).tolist()
