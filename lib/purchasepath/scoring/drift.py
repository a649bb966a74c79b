"""How far new scores are from published ones: stability of the probabilities, change of the first item."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import pyspark.sql.functions as F
from pyspark.sql import DataFrame

NUM_BINS = 10
JUDGED_USERS = 1_000
"""With fewer users on a side the index is mostly noise: it is told, but fails nothing."""

_STEPS_PER_LOGIT = 20
_CERTAIN = 1e-7


@dataclass(frozen=True)
class Drift:
    """New scores against those of day `since`."""

    since: date
    psi: float
    users_before: int
    users_now: int
    mean_before: float
    mean_now: float
    common_users: int
    changed_top: float
    """share of the common users whose first recommendation is another item"""

    def exceeds(self, limit: float) -> bool:
        """Whether the index is above `limit` (0: no limit) and both sides are large enough to judge."""
        return 0 < limit < self.psi and min(self.users_before, self.users_now) >= JUDGED_USERS

    def __str__(self) -> str:
        return (f"drift against {self.since}: stability index {self.psi:.3f}, another first item for "
                f"{self.changed_top:.1%} of {self.common_users:,} users")


def measure_drift(
    scores_before: DataFrame, best_before: DataFrame, scores_now: DataFrame, best_now: DataFrame, since: date
) -> Drift:
    """Drift of `purchase_probability`, and of the first items (user_id, item_id; one row per user)."""
    before, mean_before = _histogram(scores_before)
    now, mean_now = _histogram(scores_now)
    top_before = best_before.withColumnRenamed("item_id", "item_before")
    changed = F.count_if(~F.col("item_id").eqNullSafe(F.col("item_before")))
    common = best_now.join(top_before, on="user_id", how="inner").agg(
        F.count(F.lit(1)).alias("users"), changed.alias("changed")
    ).first()
    assert common is not None
    return Drift(
        since, stability_index(before, now), sum(before.values()), sum(now.values()), mean_before, mean_now,
        common["users"], common["changed"] / max(common["users"], 1),
    )


def stability_index(before: Mapping[int, int], now: Mapping[int, int]) -> float:
    """Population stability index of two histograms (bin -> users) over ten bins of equal users before.

    Sum over the bins of (q - p) ln(q / p), p and q the shares before and now, with half a user added to every
    bin so that an empty one stays finite. 0: the same; above 0.25 is commonly called a clear shift.
    """
    edges = _decile_edges(before)
    p, q = _shares(before, edges), _shares(now, edges)
    return math.fsum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))


def _decile_edges(histogram: Mapping[int, int]) -> list[int]:
    """First bin of each decile but the lowest, whose lower end is open.

    A bin with more than a tenth of the users stands alone, between edges of its own: where nearly everybody
    had one probability, any other is a change.
    """
    total, so_far, deciles, edges = sum(histogram.values()), 0, 1, set[int]()
    for bin_, users in sorted(histogram.items()):
        if so_far * NUM_BINS >= total * deciles:
            edges.add(bin_)
            deciles = so_far * NUM_BINS // total + 1
        if users * NUM_BINS > total:
            edges |= {bin_, bin_ + 1}
        so_far += users
    return sorted(edges)


def _shares(histogram: Mapping[int, int], edges: list[int]) -> list[float]:
    counts = [0.5] * (len(edges) + 1)
    for bin_, users in histogram.items():
        counts[bisect_right(edges, bin_)] += users
    return [count / sum(counts) for count in counts]


def _histogram(scores: DataFrame) -> tuple[dict[int, int], float]:
    """Users per twentieth of a logit of their probability (some hundred bins at most), and the mean probability."""
    p = F.greatest(F.lit(_CERTAIN), F.least(F.lit(1 - _CERTAIN), F.col("purchase_probability").cast("double")))
    bin_ = F.floor(F.log(p / (1 - p)) * _STEPS_PER_LOGIT).alias("bin")
    rows = scores.groupBy(bin_).agg(
        F.count(F.lit(1)).alias("users"), F.sum(F.col("purchase_probability").cast("double")).alias("total")
    ).collect()
    users = sum(row["users"] for row in rows)
    return {row["bin"]: row["users"] for row in rows}, math.fsum(row["total"] for row in rows) / max(users, 1)
