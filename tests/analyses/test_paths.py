"""Paths: collapsing, cutting, counting."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from purchasepath.analyses.paths import cut_middle, summarize_paths
from purchasepath.analyses.walks import collapse_repeats
from purchasepath.tables.catalog import SESSIONS


def session(types: str, **more: object) -> dict[str, object]:
    return {"event_types": types.split(), **more}


def path_by_loop(types: list[str], length: int) -> str:
    if "purchase" in types:
        types = types[: types.index("purchase") + 1]
    states = [state for state, _ in groupby(types)]
    if len(states) > length:
        states = [*states[: length // 2], "…", *states[len(states) - (length - length // 2):]]
    return " > ".join(states)


@pytest.mark.parametrize(("types", "length", "expected"), [
    ("view view cart cart view", 8, "view cart view"),
    ("a b c d e f", 4, "a b … e f"),
    ("a b c d e f", 5, "a b … d e f"),
    ("a b c d", 4, "a b c d"),
    ("a b c", 2, "a … c"),
])
def test_repeats_collapse_and_the_middle_is_cut(spark: SparkSession, types: str, length: int, expected: str) -> None:
    frame = spark.createDataFrame([(types.split(),)], "types array<string>")
    states = cut_middle(collapse_repeats(F.col("types")), length)
    assert frame.select(F.array_join(states, " ")).collect()[0][0] == expected


def test_paths_agree_with_a_loop(spark: SparkSession) -> None:
    cases: list[list[str]] = []

    @given(st.lists(st.sampled_from(["view", "cart", "search", "purchase"]), min_size=1, max_size=12))
    def collect(types: list[str]) -> None:
        cases.append(types)

    collect()
    expected: dict[str, int] = {}
    for types in cases:
        path = path_by_loop(types, 5)
        expected[path] = expected.get(path, 0) + 1
    sessions = SESSIONS.frame(spark, [{"event_types": types} for types in cases])
    found = summarize_paths(sessions, path_length=5, top_paths=1000).collect()
    assert {r.path: r.sessions for r in found} == expected
    for row in found:
        states = [state for state in row.path.split(" > ") if state != "…"]
        assert row.length == len(states)
        assert row.purchases == (row.sessions if states[-1] == "purchase" else 0)


def test_common_paths_and_common_buying_paths_are_kept_with_ties_in_order(spark: SparkSession) -> None:
    sessions = SESSIONS.frame(spark, [
        *[session("view", duration_s=float(n)) for n in range(5)],
        *[session("search")] * 3, *[session("category")] * 3,
        session("view cart purchase", revenue=20.0), session("view purchase view", revenue=5.0, duration_s=60.0),
        session("view purchase", revenue=2.5, duration_s=60.0),
        *[session("return", is_bot=True)] * 9,
    ])
    rows = summarize_paths(sessions, path_length=8, top_paths=2).orderBy("path").collect()
    assert [tuple(r) for r in rows] == [
        ("category", 1, 3, 0, 0.0, 0.0),
        ("view", 1, 5, 0, 0.0, 2.0),
        ("view > cart > purchase", 3, 1, 1, 20.0, 0.0),
        ("view > purchase", 2, 2, 2, 7.5, 60.0),
    ]
