"""What flagging sessions as bots' takes out of what is told of people: told, so that customers do not vanish unseen.

Flagged sessions stay in SESSIONS; funnel and paths are without them, training without their visitors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyspark.sql.functions as F
from pyspark.sql import DataFrame, Row

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

    def lines(self) -> list[str]:
        """For the terminal."""
        told = (f"flagged as bots: {self.flagged:,} of {self.num_sessions:,} sessions (kept), with "
                f"{self.events:.1%} of events and {self.value:.1%} of {self.noun}; their visitors have "
                f"{self.value_of_visitors:.1%} of {self.noun}")
        return [told if self.flagged else "flagged as bots: none", *([self.too_much] if self.too_much else [])]


def count_sessions(sessions: DataFrame, *by: str) -> list[Row]:
    """Sessions, events, revenue and purchases per `is_bot` and the columns `by`."""
    return sessions.groupBy("is_bot", *by).agg(
        F.count(F.lit(1)).alias("sessions"), F.sum("num_events").alias("events"), F.sum("revenue").alias("revenue"),
        F.sum("num_purchases").alias("purchases"),
    ).collect()  # a few rows


def measure_bots(counted: Sequence[Row], visitors: Sequence[Row]) -> LeftOut:
    """From what `count_sessions` and `count_visitors` found of the same SESSIONS."""
    theirs = [row for row in visitors if row["flagged"]]
    return left_out([row.asDict() for row in counted], sum(row["revenue"] for row in theirs),
                    sum(row["purchases"] for row in theirs))


def left_out(rows: Sequence[Mapping[str, Any]], visitors_revenue: float, visitors_purchases: int) -> LeftOut:
    """From sums per `is_bot`, and what visitors with a flagged session bought in all of theirs."""
    noun, of_visitors = ("revenue", visitors_revenue) if any(row["revenue"] for row in rows) else \
        ("purchases", visitors_purchases)
    flagged = [row for row in rows if row["is_bot"]]

    def share(part: float, of: str) -> float:
        total = sum(row[of] for row in rows)
        return part / total if total else 0.0

    return LeftOut(
        sum(row["sessions"] for row in rows), sum(row["sessions"] for row in flagged),
        share(sum(row["events"] for row in flagged), "events"), share(sum(row[noun] for row in flagged), noun),
        share(of_visitors, noun), noun)
