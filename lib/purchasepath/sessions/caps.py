"""How a block is cut further: at a change of campaign and at the caps on time and events.

These cuts depend on the session they end: a cap counts from the session's own first event. They are found by a
fold over the block's events, from left to right. Blocks that cannot have such a cut (nearly all) skip the fold.
"""

from __future__ import annotations

import pyspark.sql.functions as F
from pyspark.sql import Column

from purchasepath.config import Sessions

HOUR_US = 3_600_000_000
_STARTS = "array<struct<at:int,reason:string>>"
_STATE = f"struct<position:int,start_us:bigint,num_events:int,campaign:string,starts:{_STARTS}>"


def session_starts(events: Column, config: Sessions) -> Column:
    """Array of (`at`, `reason`): 1-based position of each session's first event in the block, and why it opened.

    `events` is the block in order, an array of structs with at least `event_us` and `campaign`.
    The first start has no reason. Where several reasons apply, the first of campaign, max_hours, max_events is given.
    """
    whole = F.array(_start(F.lit(1), F.lit(None)))
    folded = F.aggregate(events, _nothing_read(events), lambda s, e: _read(s, e, config), lambda s: s["starts"])
    return F.when(_may_be_cut(events, config), folded).otherwise(whole).cast(_STARTS)


def _may_be_cut(events: Column, config: Sessions) -> Column:
    span_us = F.get(events, F.size(events) - 1)["event_us"] - F.get(events, F.lit(0))["event_us"]
    oversize = (F.size(events) > config.max_events) | (span_us > _max_us(config))
    if not config.cut_on_campaign:
        return oversize
    return oversize | (F.size(F.array_distinct(F.array_compact(events["campaign"]))) > 1)


def _nothing_read(events: Column) -> Column:
    return F.struct(
        F.lit(0).alias("position"),
        F.get(events, F.lit(0))["event_us"].alias("start_us"),
        F.lit(0).alias("num_events"),
        F.lit(None).alias("campaign"),
        F.array(_start(F.lit(1), F.lit(None))).alias("starts"),
    ).cast(_STATE)


def _read(state: Column, event: Column, config: Sessions) -> Column:
    """The state after one more event."""
    reason = _cut_before(state, event, config)
    opens = reason.isNotNull()
    position = state["position"] + 1
    return F.struct(
        position.alias("position"),
        F.when(opens, event["event_us"]).otherwise(state["start_us"]).alias("start_us"),
        F.when(opens, 1).otherwise(state["num_events"] + 1).alias("num_events"),
        F.coalesce(event["campaign"], F.when(~opens, state["campaign"])).alias("campaign"),
        # cuts are few: the array is copied at a cut only, so the fold stays linear in the events
        F.when(opens, F.concat(state["starts"], F.array(_start(position, reason)).cast(_STARTS)))
        .otherwise(state["starts"]).alias("starts"),
    ).cast(_STATE)


def _cut_before(state: Column, event: Column, config: Sessions) -> Column:
    """Why `event` cannot join the session in `state`; null where it can. A session without a campaign adopts one."""
    too_late = event["event_us"] - state["start_us"] > _max_us(config)
    too_many = state["num_events"] >= config.max_events
    caps = F.when(too_late, "max_hours").when(too_many, "max_events")
    if not config.cut_on_campaign:
        return caps
    other_campaign = F.coalesce(event["campaign"] != state["campaign"], F.lit(False))
    return F.when(other_campaign, "campaign").otherwise(caps)


def _start(at: Column, reason: Column) -> Column:
    return F.struct(at.alias("at"), reason.alias("reason"))


def _max_us(config: Sessions) -> int:
    return round(config.max_hours * HOUR_US)
