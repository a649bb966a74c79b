"""Chunks of a timeline, summarized apart and joined, know the sessions of the whole."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from purchasepath.config import Sessions
from purchasepath.sessions.engine.boundaries import NO_CAMPAIGN, REASONS, SortedEvents, cut
from purchasepath.sessions.engine.chunks import borders_of, summarize_chunk

CAMPAIGNS = ("spring", "summer")
HOUR = 3_600_000_000

configs = st.builds(
    Sessions, gap_minutes=st.sampled_from([10, 60]), max_hours=st.sampled_from([0.5, 1, 3]),
    max_events=st.integers(1, 6), cut_on_campaign=st.booleans(), cut_at_midnight=st.booleans())
steps = st.lists(st.tuples(st.sampled_from([0, 1, HOUR // 6, HOUR // 4, HOUR // 2, HOUR, HOUR + 1, 9 * HOUR]),
                           st.sampled_from([NO_CAMPAIGN, NO_CAMPAIGN, 0, 1])), min_size=1, max_size=40)


def sorted_events(steps: list[tuple[int, int]], config: Sessions) -> SortedEvents:
    at = np.cumsum([pause for pause, _ in steps])
    return SortedEvents(at, np.arange(len(at)) == 0, at // (24 * HOUR) if config.cut_at_midnight else None,
                   np.array([campaign for _, campaign in steps]) if config.cut_on_campaign else None)


def summary(events: SortedEvents, rows: slice, config: Sessions) -> dict[str, Any]:
    part = events.part(np.arange(len(events.event_us))[rows])
    first = np.arange(len(part.event_us)) == 0
    ids = pa.array([f"{n:03d}" for n in range(len(events.event_us))][rows])
    ties = pa.array([0] * len(ids), pa.int32())
    chunk = SortedEvents(part.event_us, first, part.day, part.campaign)
    return summarize_chunk(0, chunk, ties, ids, pa.array(CAMPAIGNS), config).to_pylist()[0]


@settings(max_examples=150, deadline=None)
@given(steps=steps, config=configs, data=st.data())
def test_borders_are_session_starts_wherever_chunks_are_cut(
        steps: list[tuple[int, int]], config: Sessions, data: st.DataObject) -> None:
    events = sorted_events(steps, config)
    size = len(steps)
    whole = cut(events, config)
    edges = [0, *sorted(data.draw(st.sets(st.integers(1, size - 1)) if size > 1 else st.just(set()))), size]
    chunks = [summary(events, slice(start, stop), config) for start, stop in pairwise(edges)]
    found = [(int(b.event_id), REASONS[b.reason]) for b in borders_of(chunks, config)]
    began = dict(zip(whole.starts[1:].tolist(), (REASONS[r] for r in whole.reasons[:-1]), strict=True))
    expected = []
    for start, stop in pairwise(edges[1:]):
        inside = [at for at in sorted(began) if start <= at < stop]
        expected += [(inside[0], began[inside[0]])] if inside else []
    assert found == expected


def test_summary_of_a_chunk_has_bounded_size() -> None:
    events = sorted_events([(1, NO_CAMPAIGN)] * 5000, config := Sessions(max_events=100))
    chunk = summary(events, slice(0, 5000), config)
    assert len(chunk["cut_us"]) == len(chunk["cut_ids"]) == len(chunk["left_start_us"]) == 100
    assert chunk["left_events"][:2] == [100, 99]  # of the last session: those begun one later end one later
