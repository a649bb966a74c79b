"""How well SESSIONS agree with sessions that somebody else cut from the same events, and why they do not.

`known` frames have one row per event: `event_id` and `known_session`, null where the other side does not say.
Events without a known session take no part.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame, Window

from purchasepath.sessions.order import order_in_instant

SIDE_BY_SIDE = "known sessions of one visitor run side by side (tabs, devices, a returning cookie)"
CUT_WITHOUT_PAUSE = "known session ends although the visitor did not pause longer than our gap"
KEPT_OVER_PAUSE = "known session goes on after a pause that ends ours"
KEPT_OVER_CAP = "known session goes on where a cap, midnight or a campaign ends ours"


@dataclass(frozen=True)
class Agreement:
    """Counts, and the shares that follow from them. A pair is two neighbouring events of one visitor's timeline."""

    known_sessions: int
    exact_sessions: int
    """Known sessions with exactly the events of one of ours."""
    shared_sessions: int
    """Known session ids that several visitors have."""
    both_joined: int
    ours_joined: int
    known_joined: int
    causes: dict[str, int]
    """Pairs on which the two disagree, by cause."""
    median_pause_s: float | None = None
    """Median seconds between the two events of a pair that we keep together and the known sessions cut."""

    @property
    def exact_share(self) -> float:
        return _share(self.exact_sessions, self.known_sessions)

    @property
    def precision(self) -> float:
        """Share of the pairs we keep in one session that the known sessions keep together too."""
        return _share(self.both_joined, self.ours_joined)

    @property
    def recall(self) -> float:
        """Share of the pairs the known sessions keep together that we keep together too."""
        return _share(self.both_joined, self.known_joined)

    def lines(self) -> list[str]:
        """The result in words."""
        causes = sorted(self.causes.items(), key=lambda cause: (-cause[1], cause[0]))
        return [
            f"agreement with the shop's own {self.known_sessions:,} sessions: {self.exact_share:.2%} are exactly ours; "
            f"neighbouring events kept together: precision {self.precision:.2%}, recall {self.recall:.2%}",
            *(f"  {pairs:,} pairs differ: {cause}" for cause, pairs in causes if pairs),
            *self._remarks(),
        ]

    def _remarks(self) -> list[str]:
        remarks = []
        if self.median_pause_s is not None:
            remarks.append(f"  where ours go on and theirs end, the median pause is {self.median_pause_s:.0f} s")
        if self.shared_sessions:
            remarks.append(f"  {self.shared_sessions:,} known session ids belong to several visitors")
        return remarks


def measure(sessions: DataFrame, known: DataFrame) -> Agreement:
    """The agreement of SESSIONS with `known`; collects two rows of counts."""
    events = explode_events(sessions).join(known.where("known_session IS NOT NULL"), on="event_id", how="inner").cache()
    try:
        whole = summarize_known_sessions(events, sessions).first()
        pairs = summarize_pairs(add_pairs(events)).first()
    finally:
        events.unpersist()
    assert whole is not None
    assert pairs is not None
    causes = {cause: pairs[f"cause_{n}"] for n, cause in enumerate(_causes())}
    counts = {name: pairs[name] for name in ("both_joined", "ours_joined", "known_joined", "median_pause_s")}
    return Agreement(**whole.asDict(), **counts, causes=causes)


def explode_events(sessions: DataFrame) -> DataFrame:
    """One row per event: event_id, `at` (its time and what orders events of one time), event_us, and the session it is
    in (user_id, session_id, cut_reason)."""
    start = F.unix_micros("started_at")
    exploded = sessions.select(
        "user_id", "session_id", "cut_reason", start.alias("start_us"), "first_tie_order",
        F.posexplode(F.arrays_zip("event_ids", "offsets_us")).alias("position", "event"))
    event_us = F.col("start_us") + F.col("event.offsets_us")
    at = F.struct(event_us.alias("event_us"), order_in_instant(F.col("start_us"), F.col("position")))
    return exploded.select("user_id", "session_id", "cut_reason", F.col("event.event_ids").alias("event_id"),
                           at.alias("at"), event_us.alias("event_us"))


def summarize_known_sessions(events: DataFrame, sessions: DataFrame) -> DataFrame:
    """One row: known_sessions, exact_sessions, shared_sessions."""
    sizes = sessions.select("session_id", F.col("num_events").alias("our_size"))
    by_known = events.groupBy("known_session").agg(
        F.count(F.lit(1)).alias("known_size"),
        F.min("session_id").alias("session_id"),
        F.max("session_id").alias("other_id"),
        (F.min("user_id") != F.max("user_id")).alias("shared"),
    )
    one_of_ours = (F.col("session_id") == F.col("other_id")) & (F.col("known_size") == F.col("our_size"))
    return by_known.join(sizes, on="session_id", how="left").agg(
        F.count(F.lit(1)).alias("known_sessions"), F.count_if(one_of_ours).alias("exact_sessions"),
        F.count_if(F.col("shared")).alias("shared_sessions"))


def add_pairs(events: DataFrame) -> DataFrame:
    """One row per event and its visitor's next one: are they in one session of ours (`ours`), of theirs (`theirs`);
    `reason`: why ours ended; `side_by_side`: one of the two known sessions has events on the other side of the cut;
    `pause_s`: seconds between the two."""
    timeline = Window.partitionBy("user_id").orderBy("at")
    known = Window.partitionBy("user_id", "known_session").rowsBetween(
        Window.unboundedPreceding, Window.unboundedFollowing)
    at = F.col("at")
    spans = events.withColumn("first", F.min(at).over(known)).withColumn("last", F.max(at).over(known))
    following = spans.select(
        "*",
        F.lead("session_id").over(timeline).alias("next_session"),
        F.lead("known_session").over(timeline).alias("next_known"),
        F.lead("first").over(timeline).alias("next_first"),
        (F.lead("event_us").over(timeline) - F.col("event_us")).alias("pause_us"),
    ).where("next_session IS NOT NULL")
    return following.select(
        (F.col("session_id") == F.col("next_session")).alias("ours"),
        (F.col("known_session") == F.col("next_known")).alias("theirs"),
        F.col("cut_reason").alias("reason"),
        ((F.col("last") > at) | (F.col("next_first") <= at)).alias("side_by_side"),
        (F.col("pause_us") / 1e6).alias("pause_s"),
    )


def summarize_pairs(pairs: DataFrame) -> DataFrame:
    """One row: median_pause_s, both_joined, ours_joined, known_joined, and a count per cause in `_causes()`' order."""
    ours, theirs = F.col("ours"), F.col("theirs")
    counts = {"both_joined": ours & theirs, "ours_joined": ours, "known_joined": theirs}
    causes = {f"cause_{n}": condition for n, condition in enumerate(_causes().values())}
    pause_s = F.median(F.when(ours & ~theirs, F.col("pause_s"))).alias("median_pause_s")
    return pairs.agg(pause_s, *(F.count_if(condition).alias(name) for name, condition in (counts | causes).items()))


def _causes() -> dict[str, Column]:
    """Every way in which a pair can differ; each differing pair has exactly one."""
    joined = F.col("ours") & ~F.col("theirs")
    cut = ~F.col("ours") & F.col("theirs")
    paused = F.col("reason") == "gap"
    return {
        SIDE_BY_SIDE: joined & F.col("side_by_side"),
        CUT_WITHOUT_PAUSE: joined & ~F.col("side_by_side"),
        KEPT_OVER_PAUSE: cut & paused,
        KEPT_OVER_CAP: cut & ~paused,
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
