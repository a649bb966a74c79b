"""How far new scores are from published ones: stability of the answers to each task, change of the first item."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import pyspark.sql.functions as F
from pyspark.sql import DataFrame

from purchasepath.tables.tasks import Kind, of_kind

NUM_BINS = 10
JUDGED_USERS = 1_000
"""With fewer users on a side the index is mostly noise: it is told, but fails nothing."""

_STEPS_PER_LOGIT = 20
_CERTAIN = 1e-7


@dataclass(frozen=True)
class Drift:
    """New answers to a task against those of day `since`."""

    task: str
    since: date
    psi: float
    users_before: int
    users_now: int
    mean_before: float
    mean_now: float

    def exceeds(self, limit: float) -> bool:
        """Whether the index is above `limit` (0: no limit) and both sides are large enough to judge."""
        return 0 < limit < self.psi and min(self.users_before, self.users_now) >= JUDGED_USERS

    def __str__(self) -> str:
        return f"{self.task} drifted since {self.since}: stability index {self.psi:.3f}"


@dataclass(frozen=True)
class ItemChange:
    """First recommendations against those of day `since`, of users who have one on both."""

    since: date
    users: int
    changed: int

    def __str__(self) -> str:
        share = self.changed / max(self.users, 1)
        return f"another first item than on {self.since} for {share:.1%} of {self.users:,} users"


def measure_drift(before: DataFrame, now: DataFrame, since: Mapping[str, date]) -> list[Drift]:
    """Drift of the answers (task, value) to each task of `since`, which says of which day those before are."""
    earlier, later = _histograms(before), _histograms(now)
    return [
        Drift(task, day, stability_index(earlier[task][0], later[task][0]), sum(earlier[task][0].values()),
              sum(later[task][0].values()), earlier[task][1], later[task][1])
        for task, day in since.items() if task in earlier and task in later
    ]


def measure_item_change(before: DataFrame, now: DataFrame, since: date) -> ItemChange:
    """Of first items: user_id, item_id; one row per user."""
    changed = F.count_if(F.col("item_id") != F.col("item_before"))
    common = now.join(before.withColumnRenamed("item_id", "item_before"), on="user_id", how="inner").agg(
        F.count(F.lit(1)).alias("users"), changed.alias("changed")).first()
    assert common is not None
    return ItemChange(since, common["users"], common["changed"])


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


def _histograms(answers: DataFrame) -> dict[str, tuple[dict[int, int], float]]:
    """Task → users per bin (some hundred bins at most), and the mean answer.

    A bin is a twentieth of a logit of a probability, or of the logarithm of an amount or a count.
    """
    value = F.col("value").cast("double")
    p = F.greatest(F.lit(_CERTAIN), F.least(F.lit(1 - _CERTAIN), value))
    scale = F.when(F.col("task").isin(*of_kind(Kind.BINARY)), F.log(p / (1 - p))).otherwise(
        F.log(F.greatest(F.lit(_CERTAIN), value)))
    rows = answers.groupBy("task", F.floor(scale * _STEPS_PER_LOGIT).alias("bin")).agg(
        F.count(F.lit(1)).alias("users"), F.sum(value).alias("total")).collect()
    found: dict[str, tuple[dict[int, int], float]] = {}
    for task in {row["task"] for row in rows}:
        own = [row for row in rows if row["task"] == task]
        users = sum(row["users"] for row in own)
        found[task] = {row["bin"]: row["users"] for row in own}, math.fsum(row["total"] for row in own) / max(users, 1)
    return found
