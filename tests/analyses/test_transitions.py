"""Transitions: against a plain loop over the events."""

from __future__ import annotations

import random
from collections import defaultdict
from statistics import median_low

import pytest
from pyspark.sql import SparkSession

from purchasepath.analyses.transitions import summarize_transitions
from purchasepath.tables.catalog import EVENT_TYPES, SESSIONS


def session(types: list[str], seconds: list[float], **more: object) -> dict[str, object]:
    return {"event_types": types, "offsets_us": [int(s * 1e6) for s in seconds], **more}


def by_loop(sessions: list[dict]) -> dict[tuple[str, str], list[float | None]]:
    seen: dict[tuple[str, str], list[float | None]] = defaultdict(list)
    for row in sessions:
        state, at = "start", None
        for event_type, offset in zip(row["event_types"], row["offsets_us"], strict=True):
            seen[state, event_type].append(None if at is None else (offset - at) / 1e6)
            state, at = event_type, offset
            if state == "purchase":
                break
        else:
            seen[state, "leave"].append(None)
    return seen


def test_a_path_ends_at_its_first_purchase_or_by_leaving(spark: SparkSession) -> None:
    rows = summarize_transitions(SESSIONS.frame(spark, [
        session(["view", "cart", "purchase", "view"], [0, 10, 40, 50]),
        session(["view"], [0]),
        session(["purchase"], [0]),
        session(["view", "view", "view"], [0, 1, 2], is_bot=True),
    ])).orderBy("from_state", "to_state").collect()
    assert [tuple(r) for r in rows] == [
        ("cart", "purchase", 1, 1.0, 30.0),
        ("start", "purchase", 1, 1 / 3, None),
        ("start", "view", 2, 2 / 3, None),
        ("view", "cart", 1, 0.5, 10.0),
        ("view", "leave", 1, 0.5, None),
    ]


def test_counts_probabilities_and_medians_agree_with_a_loop(spark: SparkSession) -> None:
    chance = random.Random(5)
    sessions = []
    for _ in range(300):
        types = chance.choices(EVENT_TYPES, k=chance.randint(1, 9))
        offsets = sorted(chance.randint(0, 3_000) for _ in types)
        sessions.append(session(types, [o - offsets[0] for o in offsets]))
    expected = by_loop(sessions)
    totals: dict[str, int] = defaultdict(int)
    for (source, _), times in expected.items():
        totals[source] += len(times)

    found = {(r.from_state, r.to_state): r for r in summarize_transitions(SESSIONS.frame(spark, sessions)).collect()}

    assert found.keys() == expected.keys()
    for pair, row in found.items():
        waits = [t for t in expected[pair] if t is not None]
        assert row.transitions == len(expected[pair])
        assert row.probability == pytest.approx(len(expected[pair]) / totals[pair[0]])
        assert row.median_seconds == (median_low(waits) if waits else None)
