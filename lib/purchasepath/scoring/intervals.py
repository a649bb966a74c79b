"""How sure a number is: 95 % intervals from resampling visitors, for values and for differences between models.

A visitor's targets and points hang together, so whole visitors are drawn, by Poisson weights (Chamandy and others,
2012). A hash puts each visitor into one of 512 buckets, and whatever is counted is counted per bucket by the tasks;
each bucket then has a weight in each of 1,000 replicates, by a hash of (bucket, replicate), and every metric is
computed of the weighted sums (decision 18). A visitor has the same weights whatever is measured of whatever model, so
differences are paired; and nothing depends on partitions, on the order of rows or on a random generator's version.

Legend: G buckets of visitors, R samples: everybody, then the replicates, then everybody but one bucket.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pyspark.sql.functions as F
from pyspark.sql import Column

BUCKETS = 512
"""The variance of a mean comes out right on average, but for 1 / BUCKETS, and its root to 3 % (1 / sqrt(2 BUCKETS))."""
REPLICATES = 1_000
"""The ends of an interval are as exact as 4 % of its half."""
LEVEL = 0.95
FEWEST = 5
"""Buckets that a number must hang on for an interval to be told: percentiles of fewer cover too little."""

_ROUNDING = 1e-12
"""What leaving a bucket out changes by less than this, it changes by rounding alone; metrics are of size 1."""


def bucket_of(visitor: Column) -> Column:
    """Bucket (0 … BUCKETS - 1) of a hash of the visitor; 0 where it is not known, which leaves no interval."""
    return F.coalesce(F.pmod(visitor, F.lit(BUCKETS)), F.lit(0)).cast("int")


def resample(counts_GX: np.ndarray) -> np.ndarray:
    """counts_RX: the sums over all buckets in every sample, of counts by bucket."""
    used_G = counts_GX.any(axis=1)
    return _weights()[:, used_G] @ counts_GX[used_G]


def interval(value_R: np.ndarray) -> tuple[float, float] | tuple[None, None]:
    """(low, high) of a number that was computed in every sample: percentiles over the replicates.

    (None, None) where fewer than FEWEST buckets matter to it, counted by what leaving one out changes:
    (sum of squared changes)^2 / sum of their fourth powers. That is n of n equal changes, and 3 where 3 of 1,000
    visitors make all the difference; with few yeses, few hits or few visitors replicates look surer than they are.
    """
    replicates, left_out = value_R[1 : 1 + REPLICATES], value_R[1 + REPLICATES :]
    change_G = left_out - value_R[0]
    change_G = np.where(np.abs(change_G) < _ROUNDING, 0.0, change_G)
    change_G /= np.abs(change_G).max() or 1.0  # of size 1, so that fourth powers do not vanish
    squared, fourth = (change_G**2).sum(), (change_G**4).sum()
    if not fourth > 0 or squared**2 / fourth < FEWEST or np.isnan(replicates).any():  # also where a change is no number
        return None, None
    low, high = np.quantile(replicates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def poisson_weights(replicates: int, buckets: int) -> np.ndarray:
    """weights_RG: Poisson numbers of mean 1 from a hash of (replicate, bucket); the same for ever."""
    number_RG = np.arange(replicates * buckets, dtype=np.uint64).reshape(replicates, buckets)
    uniform_RG = (_mixed(number_RG) >> np.uint64(11)) * 2.0**-53
    probability = np.exp(-1.0) / np.cumprod([1.0, *range(1, 20)])
    return np.searchsorted(probability.cumsum(), uniform_RG, side="right").astype(np.float64)


@cache
def _weights() -> np.ndarray:
    """weights_RG"""
    everybody, but_one = np.ones((1, BUCKETS)), 1.0 - np.eye(BUCKETS)
    return np.concatenate([everybody, poisson_weights(REPLICATES, BUCKETS), but_one])


def _mixed(number: np.ndarray) -> np.ndarray:
    """Well mixed bits of each number: splitmix64 (Steele, Lea and Flood, 2014)."""
    z = (number + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
