"""What flagging sessions as bots' takes out of what is told of people: told, so that customers do not vanish unseen.

Flagged sessions stay in SESSIONS; funnel and paths are without them, training without their visitors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyspark.sql.functions as F
from pyspark.sql import DataFrame

MOST_VALUE = 0.03
"""Bots buy nothing. Above this share of what was bought, the rules have probably met customers."""


@dataclass(frozen=True)
class LeftOut:
    """Of `num_sessions` sessions, those that are flagged; shares (0 to 1) of all events and of all `value`."""

    num_sessions: int
    flagged: int
    events: float
    value: float
    value_of_visitors: float
    """Share of the value that visitors with a flagged session have in any of theirs."""
    noun: str
    """What the value is: revenue, or purchases where no prices are known."""

    @property
    def too_much(self) -> str:
        """A warning where so much is taken out that customers must be among it, else ''."""
        if max(self.value, self.value_of_visitors) <= MOST_VALUE:
            return ""
        return (f"warning: flagged as bots', {self.value:.1%} of {self.noun} are left out of funnel and paths, and "
                f"visitors with {self.value_of_visitors:.1%} of training; if these are customers, raise "
                f"sessions.bot_events_per_window and sessions.bot_max_events, or map no `agent`")

    def lines(self, where: str = "") -> list[str]:
        """For the terminal."""
        told = (f"flagged as bots{where}: {self.flagged:,} of {self.num_sessions:,} sessions (kept), with "
                f"{self.events:.1%} of events and {self.value:.1%} of {self.noun}; their visitors have "
                f"{self.value_of_visitors:.1%} of {self.noun}")
        return [told if self.flagged else "flagged as bots: none", *([self.too_much] if self.too_much else [])]


def measure_bots(sessions: DataFrame) -> LeftOut:
    """Of these SESSIONS."""
    flagged = sessions.where("is_bot").select("user_id").distinct().withColumn("theirs", F.lit(1))
    theirs = sessions.join(flagged, on="user_id", how="left")  # user_id is unique among the flagged
    return left_out(theirs.groupBy("is_bot").agg(
        F.count(F.lit(1)).alias("sessions"), F.sum("num_events").alias("events"), F.sum("revenue").alias("revenue"),
        F.sum("num_purchases").alias("purchases"), F.sum(F.col("revenue") * F.col("theirs")).alias("visitors_revenue"),
        F.sum(F.col("num_purchases") * F.col("theirs")).alias("visitors_purchases"),
    ).collect())  # at most two rows


def left_out(rows: Iterable[Any]) -> LeftOut:
    """From sums per `is_bot`."""
    rows = list(rows)
    noun = "revenue" if any(row["revenue"] for row in rows) else "purchases"

    def share(part: str, whole: str, *, flagged: bool) -> float:
        total = sum(row[whole] for row in rows)
        return sum(row[part] or 0 for row in rows if row["is_bot"] or not flagged) / total if total else 0.0

    return LeftOut(
        sum(row["sessions"] for row in rows), sum(row["sessions"] for row in rows if row["is_bot"]),
        share("events", "events", flagged=True), share(noun, noun, flagged=True),
        share(f"visitors_{noun}", noun, flagged=False), noun)
