"""Session boundaries: where timelines are cut, by whole columns.

Two kinds of cut. *Hard* ones hold whatever came before: after a pause, at local midnight, at the end of the timeline.
What lies between two hard cuts is a segment. Inside a segment, caps and campaigns depend on the session that they
end: they are jumps from a session's first event to the next session's first event, and `next_starts` gives the
jump of every event at once. Segments that cannot have such a cut (nearly all) are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from purchasepath.config import Sessions
from purchasepath.sessions.engine.rules import gap_us, max_us

GAP, MIDNIGHT, CAMPAIGN, MAX_HOURS, MAX_EVENTS = range(5)
REASONS = ("gap", "midnight", "campaign", "max_hours", "max_events")
"""Words of SESSIONS.cut_reason; where several apply to one event, the first of them is given."""

NO_CAMPAIGN = -1


@dataclass(frozen=True)
class SortedEvents:
    """Events in order. Arrays run in parallel; `day` and `campaign` are None where the rules do not ask for them."""

    event_us: np.ndarray
    opens: np.ndarray
    """bool: first event of a visitor."""
    day: np.ndarray | None
    """Local day, as a number."""
    campaign: np.ndarray | None
    """A number per campaign, or NO_CAMPAIGN."""

    def part(self, rows: np.ndarray) -> SortedEvents:
        """The events at `rows`."""
        return SortedEvents(self.event_us[rows], self.opens[rows], None if self.day is None else self.day[rows],
                       None if self.campaign is None else self.campaign[rows])


@dataclass(frozen=True)
class Cuts:
    """`starts`: position of every session's first event; `reasons`: index into REASONS, why the next one began."""

    starts: np.ndarray
    reasons: np.ndarray


def cut(events: SortedEvents, config: Sessions) -> Cuts:
    """Sessions of whole timelines. The last session of a visitor ended by a pause: so far nothing followed."""
    if not len(events.event_us):
        return Cuts(np.empty(0, np.int64), np.empty(0, np.int8))
    opens_segment, why = hard_cuts(events, config)
    starts = np.flatnonzero(opens_segment)
    stops = np.r_[starts[1:], len(events.event_us)]
    reasons = np.r_[why[starts[1:]], np.int8(GAP)]
    segments = np.flatnonzero(_may_be_cut(events, starts, stops, config))
    if not len(segments):
        return Cuts(starts, reasons)
    further_starts, further_reasons = _cut_segments(events, starts[segments], stops[segments], config)
    # the session before an inner cut ends for that cut's reason; the segment's last one inherits the segment's reason
    all_starts = np.r_[starts, further_starts]
    why_begun = np.r_[np.r_[np.int8(GAP), reasons[:-1]], further_reasons]
    order = np.argsort(all_starts)
    return Cuts(all_starts[order], np.r_[why_begun[order][1:], np.int8(GAP)])


def hard_cuts(events: SortedEvents, config: Sessions) -> tuple[np.ndarray, np.ndarray]:
    """For every event: does it open a segment (bool), and why (meaningless where it does not)."""
    at, opens = events.event_us, events.opens.copy()
    why = np.full(len(at), GAP, dtype=np.int8)
    opens[1:] |= at[1:] - at[:-1] > gap_us(config)
    if events.day is not None:
        other_day = np.r_[False, events.day[1:] != events.day[:-1]] & ~opens
        why[other_day] = MIDNIGHT
        opens |= other_day
    return opens, why


def next_starts(events: SortedEvents, starts: np.ndarray, stops: np.ndarray, config: Sessions) -> np.ndarray:
    """If a session began at the event, where would the next one begin? At the segment's stop at the latest.

    `starts` and `stops` are the segments; they cover all `events` without holes.
    """
    sizes = stops - starts
    segment = np.repeat(np.arange(len(starts)), sizes)
    found = np.minimum(np.arange(len(segment)) + config.max_events, stops[segment])
    # one rising clock for all segments, further apart than a session can last, so that one search serves them all
    spans = events.event_us[stops - 1] - events.event_us[starts]
    shift = np.r_[0, np.cumsum(spans + (max_us(config) + 1))[:-1]] - events.event_us[starts]
    clock = events.event_us + shift[segment]
    found = np.minimum(found, np.searchsorted(clock, clock + max_us(config), side="right"))
    if events.campaign is not None:
        found = np.minimum(found, other_campaigns(events.campaign, segment))
    return found


def other_campaigns(campaign: np.ndarray, segment: np.ndarray) -> np.ndarray:
    """For every event: the first event of the same segment whose campaign differs from the first campaign known from
    here on; the number of events where there is none."""
    size = len(campaign)
    known = np.flatnonzero(campaign != NO_CAMPAIGN)
    if not len(known):
        return np.full(size, size)
    changes = (np.diff(campaign[known]) != 0) | (np.diff(segment[known]) != 0)
    run = np.r_[0, np.cumsum(changes)]
    begins = known[np.r_[True, changes]]
    follows = np.r_[begins[1:], size][run]  # for every known one: where the next run of campaigns begins
    at = np.searchsorted(known, np.arange(size))
    inside = at < len(known)
    at = np.minimum(at, len(known) - 1)
    inside &= segment[known[at]] == segment
    change = np.where(inside, follows[at], size)
    # a run that begins in the next segment is no change within this one
    return np.where((change < size) & (segment[np.minimum(change, size - 1)] == segment), change, size)


def reason_of_jump(events: SortedEvents, start: np.ndarray, cut_at: np.ndarray, change: np.ndarray | None,
                   config: Sessions) -> np.ndarray:
    """Why a session that began at `start` ended before `cut_at`, inside a segment."""
    late = events.event_us[cut_at] - events.event_us[start] > max_us(config)
    reason = np.where(late, MAX_HOURS, MAX_EVENTS)
    return (reason if change is None else np.where(change[start] == cut_at, CAMPAIGN, reason)).astype(np.int8)


def _may_be_cut(events: SortedEvents, starts: np.ndarray, stops: np.ndarray, config: Sessions) -> np.ndarray:
    at = events.event_us
    may = (stops - starts > config.max_events) | (at[stops - 1] - at[starts] > max_us(config))
    if events.campaign is not None:
        known = events.campaign != NO_CAMPAIGN
        lowest = np.minimum.reduceat(np.where(known, events.campaign, np.iinfo(events.campaign.dtype).max), starts)
        may |= np.maximum.reduceat(events.campaign, starts) > lowest
    return may


def _cut_segments(events: SortedEvents, starts: np.ndarray, stops: np.ndarray,
                config: Sessions) -> tuple[np.ndarray, np.ndarray]:
    """First events of the sessions inside these segments (not of each segment's first session), and why they began."""
    sizes = stops - starts
    begins = np.r_[0, np.cumsum(sizes)[:-1]]
    rows = np.arange(sizes.sum()) + np.repeat(starts - begins, sizes)
    inner, ends = events.part(rows), begins + sizes
    following = next_starts(inner, begins, ends, config)
    change = None
    if inner.campaign is not None:
        change = other_campaigns(inner.campaign, np.repeat(np.arange(len(starts)), sizes))
    found, reasons = [], []
    at, stop = begins, ends
    while len(at):  # all segments at once, one session further each time
        target = following[at]
        goes_on = target < stop
        start, at, stop = at[goes_on], target[goes_on], stop[goes_on]
        found.append(rows[at])
        reasons.append(reason_of_jump(inner, start, at, change, config))
    return np.concatenate(found), np.concatenate(reasons)
