"""SESSIONS written as files by tasks that read files: the same rows as of a frame, whatever the files."""

from __future__ import annotations

import uuid
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
from purchasepath.sessions.engine import rewrite
from purchasepath.sessions.engine.dirty_ranges import pack_ranges
from purchasepath.sessions.engine.files import SessionFiles
from purchasepath.sessions.engine.hashing import spark_hash
from purchasepath.sessions.engine.rewrite import CopyOnWrite, Intervals
from purchasepath.sessions.engine.rules import Timely
from purchasepath.sessions.engine.source import FileSource
from purchasepath.storage.data_files import DataFile
from purchasepath.tables.catalog import EVENTS, SESSIONS
from tests.sessions.oracle import Event, sessions_of, t
from tests.sessions.test_sessionize import SMALL, event


def write_events(directory: Path, files: Sequence[Sequence[Event]], without: Sequence[str] = ()) -> list[Path]:
    schema = EVENTS.arrow_schema()
    directory.mkdir()
    for number, rows in enumerate(files):
        filled = [{**{c.name: c.default for c in EVENTS.columns}, **row, "event_date": row["event_ts"].date()}
                  for row in rows]
        table = pa.Table.from_pylist(filled, schema=schema).drop_columns(list(without))
        pq.write_table(table, directory / f"{number}.parquet", row_group_size=40)
    return sorted(directory.glob("*.parquet"))


def data_file(path: Path) -> DataFile:
    return DataFile(str(path), path.parent.name, path.stat().st_size)


def read(spark: SparkSession, files: Sequence[DataFile]) -> dict[str, dict[str, Any]]:
    rows = {}
    for file in files:
        for row in pq.ParquetFile(file.address).read().to_pylist():
            assert row["session_id"] not in rows
            rows[row["session_id"]] = {**row, "partition": file.partition}
    if files:  # and as Spark reads them, by the declaration
        stored = spark.read.schema(SESSIONS.spark_schema()).parquet(*(str(file.address) for file in files))
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
    files = write_events(tmp_path / "events", [everything[:500], everything[500:]],
                         without=["brand", "device", "tie_order"])
    source = FileSource(spark, EVENTS, files, Timely(SMALL))
    written = SessionFiles(source, SMALL, bucket_events=60).write(f"{tmp_path}/out")
    found = read(spark, written)
    expected = sessions_of([*events, *kiosk], SMALL)
    assert {key: {name: row[name] for name in expected[key] if name != "session_date"}
            for key, row in found.items()} == {
        key: {name: value for name, value in row.items() if name != "session_date"} for key, row in expected.items()}
    assert all(row["partition"] == f"session_date={row['started_at'].date()}" for row in found.values())


def test_no_files_are_no_sessions(spark: SparkSession, tmp_path: Path) -> None:
    assert SessionFiles(FileSource(spark, EVENTS, [], Timely(SMALL)), SMALL).write(str(tmp_path)) == []
    nobody = write_events(tmp_path / "events", [[]])
    assert SessionFiles(FileSource(spark, EVENTS, nobody, Timely(SMALL)), SMALL).write(f"{tmp_path}/out") == []


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
    hash_ids = rewrite.hash_ids
    rewrite.hash_ids = (lambda ids: np.zeros(len(ids), dtype=np.uint64)) if alike else hash_ids
    try:
        found = Intervals(stored).hold(who, when)
    finally:
        rewrite.hash_ids = hash_ids
    assert found.tolist() == [any(u == user and a <= us <= b for u, a, b in rows) for user, us in moments]
    assert Intervals(stored).hold(who.dictionary_encode(), when).tolist() == found.tolist()


def test_open_sessions_lie_in_files_of_their_own(spark: SparkSession, tmp_path: Path) -> None:
    begun, late = t(-24 * 60), t(3 * 60)
    times = {"long": [begun + timedelta(minutes=20 * n) for n in range(82)], "gone": [begun, late - timedelta(hours=1)],
             "just_open": [late - timedelta(minutes=30)], "just_ended": [late - timedelta(minutes=30, microseconds=1)],
             "newest": [late]}
    events = [event(100 * u + n, at, user_id=user) for u, user in enumerate(times) for n, at in enumerate(times[user])]
    source = FileSource(spark, EVENTS, write_events(tmp_path / "events", [events]))
    rules = Sessions(max_hours=48)
    files = SessionFiles(source, rules).write(f"{tmp_path}/out")
    users = {frozenset(pq.read_table(file.address)["user_id"].to_pylist()): file.partition for file in files}
    assert users == {frozenset({"gone"}): f"session_date={begun.date()}",
                     frozenset({"long"}): f"session_date={begun.date()}",
                     frozenset({"gone", "just_ended"}): f"session_date={late.date()}",
                     frozenset({"just_open", "newest"}): f"session_date={late.date()}"}
    assert read(spark, files).keys() == sessions_of(events, rules).keys()


def write_sessions(spark: SparkSession, directory: Path, user_id: str) -> Path:
    """Of one visitor: six of one event each, an hour apart, in one file."""
    rows = [event(n, t(60 * n), user_id=user_id) for n in range(6)]
    source = FileSource(spark, EVENTS, write_events(directory, [rows]))
    files = [file.address for file in SessionFiles(source, Sessions()).write(str(directory))]
    path = directory / "sessions.parquet"
    pq.write_table(pa.concat_tables(pq.ParquetFile(file).read() for file in files), path)
    return path


def test_files_that_lose_no_session_stay_as_they_are(spark: SparkSession, tmp_path: Path) -> None:
    paths = []
    for user in ("v0", "v1", "v2"):
        stored = write_sessions(spark, tmp_path / user, user)
        paths.append(tmp_path / "old" / "session_date=2024-01-01" / f"{user}.parquet")
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        stored.rename(paths[-1])
    tables = [pq.ParquetFile(path).read() for path in paths]

    def kept_of(files: Sequence[Path], gone: Sequence[str], **how: int) -> list[Path]:
        """After sessions with these ids give way."""
        retired = [{"session_id": key, "session_date": t(0).date(), "from_us": 0} for key in gone]
        dirty = pa.table({"user_id": ["v"], "from_us": [0], "to_us": [0], "num_events": [1], "retired": [retired]})
        ranges = tmp_path / f"{uuid.uuid4()}.parquet"  # read once per name
        pq.write_table(pack_ranges(dirty, Sessions()), ranges)
        written = CopyOnWrite(spark, tuple(map(data_file, files)), [(str(ranges),)], **how).write(f"{tmp_path}/new")
        assert {file.partition for file in written} == {"session_date=2024-01-01"}
        return [Path(file.address) for file in written]

    ids = tables[0]["session_id"].to_pylist()
    rest = tables[0].filter(pc.invert(pc.is_in(tables[0]["session_id"], pa.array([ids[2], ids[4]]))))
    for how in ({}, {"small_bytes": 0}):  # large ones one by one, small ones together
        *staying, copy = sorted(kept_of(paths, [ids[2], ids[4]], **how), key=lambda path: path.name.startswith("part-"))
        assert staying == paths[1:]
        assert pq.ParquetFile(copy).read().equals(rest)
    # small files that lose some become one, in order
    other = tables[1].slice(1).combine_chunks()
    stays, copy = kept_of(paths[::-1], [ids[2], ids[4], tables[1]["session_id"][0].as_py()])
    assert stays == paths[2]
    assert pq.ParquetFile(copy).read().equals(pa.concat_tables([rest, other]).combine_chunks())
    assert kept_of(paths[1:], ids) == paths[1:]
    # and so do all, where those that stay would be many
    [copy] = kept_of(paths[1:], ids, many=2)
    assert pq.ParquetFile(copy).read().equals(pa.concat_tables(tables[1:]).combine_chunks())


def test_spark_deals_as_we_compute(spark: SparkSession) -> None:
    numbers = [0, 1, -1, 7, 123_456, 2**31 - 1, -(2**31)]
    frame = spark.createDataFrame([(n,) for n in numbers], "n int").select(F.hash("n").alias("hash"))
    assert [row["hash"] for row in frame.collect()] == spark_hash(np.array(numbers)).tolist()
