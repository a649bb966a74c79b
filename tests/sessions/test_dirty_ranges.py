"""Dirty ranges, by whole columns, equal what a plain loop over each visitor's timeline finds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given, settings
from hypothesis import strategies as st

from purchasepath.config import Sessions
from purchasepath.sessions.engine.dirty_ranges import OfVisitors, bursts_of, dirty_ranges_of, pack_ranges, unpack_ranges
from purchasepath.sessions.engine.hashing import hash_ids
from purchasepath.sessions.engine.rebuild_scope import RebuildScope, scope_of
from purchasepath.sessions.engine.shuffle import SPAN_COLUMNS, UserRuns
from purchasepath.times import DAY_US, HOUR_US

PAUSE = 10 * DAY_US // 24
Moment = tuple[str, int]
Session = tuple[str, int, int]
"""Visitor, first and last moment."""


def plain(changed: Sequence[Moment], stored: Sequence[Session]) -> list[dict[str, Any]]:
    """What `dirty_ranges_of` gives, one visitor, one chain after the other."""
    found = []
    for user in sorted({user for user, *_ in (*changed, *stored)}):
        spans = sorted([(us, us, "") for who, us in changed if who == user]
                       + [(first, last, f"{user}-{first}-{last}") for who, first, last in stored if who == user])
        chains: list[list[tuple[int, int, str]]] = []
        for span in spans:
            if not chains or span[0] - max(last for _, last, _ in chains[-1]) > PAUSE:
                chains.append([])
            chains[-1].append(span)
        found += [dirty_range(user, chain) for chain in chains if any(not key for *_, key in chain)]
    return found


def dirty_range(user: str, chain: Sequence[tuple[int, int, str]]) -> dict[str, Any]:
    changed_us = min(us for us, _, key in chain if not key)
    begun = [first for n, (first, _, key) in enumerate(chain)
             if key and first < changed_us and all(last < first for _, last, _ in chain[:n])]
    from_us = max(begun, default=chain[0][0])
    retired = [{"session_id": key, "session_date": date(1970, 1, 1) + timedelta(days=first // DAY_US),
                "from_us": first} for first, _, key in chain if key and first >= from_us]
    return {"user_id": user, "from_us": from_us, "to_us": max(last for _, last, _ in chain), "retired": retired,
            "num_events": 2 * len(retired) + sum(not key for *_, key in chain)}


def runs(changed: Sequence[Moment], stored: Sequence[Session]) -> UserRuns:
    """Bursts of the changed events, and the stored sessions."""
    events = pa.table({"user_id": pa.array([user for user, _ in changed], pa.string()),
                       "event_us": pa.array([us for _, us in changed], pa.int64())})
    bursts = bursts_of(events.combine_chunks(), PAUSE) if changed else None
    rows = [*(pa.Table.from_batches([bursts]).to_pylist() if bursts else []),
            *({"user_id": user, "session_id": f"{user}-{first}-{last}", "from_us": first, "to_us": last,
               "num_events": 2} for user, first, last in stored)]
    columns = pa.Table.from_pylist(rows, schema=SPAN_COLUMNS).combine_chunks()
    return UserRuns(pa.array([row["user_id"] for row in rows], pa.string()), np.ones(len(rows), dtype=np.int64),
                  {name: columns[name].chunk(0) for name in SPAN_COLUMNS.names})


USERS = st.sampled_from("abc")
HOURS = st.integers(0, 60).map(lambda hour: hour * DAY_US // 24)


@st.composite
def timelines(draw: st.DrawFn) -> tuple[list[Moment], list[Session]]:
    """Changed events, and sessions that follow each other: two may share an instant, as after a cut by size."""
    edges = defaultdict(list)
    for user, us in draw(st.lists(st.tuples(USERS, HOURS), max_size=24, unique=True)):
        edges[user].append(us)
    stored = [(user, first, last) for user, at in edges.items()
              for first, last in zip(sorted(at)[::2], sorted(at)[1::2], strict=False)]
    touching = [(user, last, last + 1) for user, _, last in stored if draw(st.booleans())]
    return draw(st.lists(st.tuples(USERS, HOURS), min_size=1, max_size=8)), draw(st.permutations([*stored, *touching]))


@settings(max_examples=300, deadline=None)
@given(drawn=timelines())
def test_dirty_ranges_equal_those_of_a_plain_loop(drawn: tuple[list[Moment], list[Session]]) -> None:
    changed, stored = drawn
    found = dirty_ranges_of(runs(changed, stored), PAUSE).to_pylist()
    assert sorted(found, key=lambda row: (row["user_id"], row["from_us"])) == [
        {name: row[name] for name in found[0]} for row in plain(changed, stored)]


@settings(max_examples=100, deadline=None)
@given(drawn=timelines())
def test_their_scope_is_that_of_a_plain_loop(drawn: tuple[list[Moment], list[Session]]) -> None:
    def days(from_us: int, to_us: int) -> set[date]:
        return {date(1970, 1, 1) + timedelta(days=n) for n in range(from_us // DAY_US, to_us // DAY_US + 1)}

    rules = Sessions(gap_minutes=600, max_hours=30)
    ranges = dirty_ranges_of(runs(*drawn), PAUSE)
    rows, retired = plain(*drawn), [one for row in plain(*drawn) for one in row["retired"]]
    events = Counter[str]()
    for row in rows:
        events[row["user_id"]] += row["num_events"]
    expected = RebuildScope(
        frozenset().union(*(days(row["from_us"] - 40 * HOUR_US, row["to_us"] + 10 * HOUR_US) for row in rows)),
        frozenset().union(*(days(row["from_us"], row["to_us"]) for row in rows)),
        frozenset(one["session_date"] for one in retired), len(rows), len(retired), sum(events.values()),
        max(events.values()))
    assert scope_of(ranges, rules) == expected
    packed = pack_ranges(ranges, rules)
    assert unpack_ranges(packed["ranges"]).equals(ranges)
    assert packed["scope"].to_pylist() == [{name: sorted(value) if isinstance(value, frozenset) else value
                                            for name, value in asdict(expected).items()}]
    theirs = (ranges.filter(pc.equal(ranges["user_id"], user)) for user in "abc")
    assert sum((scope_of(part, rules) for part in theirs), RebuildScope()) == expected


def test_sessions_without_changes_near_them_stay() -> None:
    assert dirty_ranges_of(runs([("a", 0)], [("b", 0, 5), ("a", 2 * PAUSE, 3 * PAUSE)]), PAUSE).to_pylist() == [
        {"user_id": "a", "from_us": 0, "to_us": 0, "num_events": 1, "retired": []}]


def test_a_visitor_who_never_pauses_is_one_burst() -> None:
    hours = pa.array(np.arange(1000) * (PAUSE // 10))
    events = pa.table({"user_id": pa.array(["bot"] * 1000), "event_us": hours})
    [burst] = pa.Table.from_batches([bursts_of(events, PAUSE)]).to_pylist()
    assert burst == {"user_id": "bot", "from_us": 0, "to_us": 999 * (PAUSE // 10), "num_events": 1000}


@given(changed=st.sets(USERS), rows=st.lists(st.sampled_from(["a", "b", "c", "dd"])))
def test_rows_of_the_visitors_with_changes_pass(changed: set[str], rows: list[str]) -> None:
    keep = OfVisitors(np.unique(hash_ids(pa.array(sorted(changed), pa.string()))))
    users = pa.array(rows, pa.string())
    for column in (users, users.dictionary_encode()):
        assert keep(pa.record_batch([column], names=["user_id"])).tolist() == [user in changed for user in rows]
