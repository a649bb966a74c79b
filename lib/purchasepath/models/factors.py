"""Latent factors from implicit feedback (Hu, Koren and Volinsky, 2008): items' by Spark MLlib, a history's solved for.

An item is a vector y and a history a vector x; x.y says how much the history prefers the item. x has the least of

    sum over items of c (p - x.y)^2  +  n * REGULARIZATION * |x|^2

where p is 1 for items of the history and 0 for others, c is 1 + EVENT_WEIGHT * (events on the item), and n counts
the history's items. Given the items' vectors, x has a closed form. So nobody needs the vector that was fitted for him:
a history is answered as far as it was known when the question was asked, and so is that of a new visitor.

Legend: B examples, N events of all of them, H histories, M different items of a history, D factors, I items (special
ids included).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyspark.sql.functions as F
from pyspark.ml.recommendation import ALS, ALSModel
from pyspark.sql import DataFrame

from purchasepath.datasets.manifest import FIRST_ITEM, PADDING

RANK = 64
REGULARIZATION = 0.01
EVENT_WEIGHT = 10.0
SWEEPS = 8
SEED = 17
_BLOCKS = 4  # of users and of items; a number of its own, because first vectors are drawn block by block
_MAX_USERS = 2**31  # MLlib takes ints


def item_factors(examples: DataFrame) -> DataFrame:
    """item, factors: one row per item that occurs in `examples`.

    The same rows give the same factors, up to the rounding of sums whose order a cluster may change.
    """
    counts = item_counts(examples)
    if counts.isEmpty():  # MLlib refuses to fit on nothing
        return counts.select("item", F.array().cast("array<float>").alias("factors"))
    return fit(counts).itemFactors.select(F.col("id").alias("item"), F.col("features").alias("factors"))


def fit(counts: DataFrame) -> ALSModel:
    """MLlib's alternating least squares on `item_counts`."""
    return ALS(
        rank=RANK, maxIter=SWEEPS, regParam=REGULARIZATION, alpha=EVENT_WEIGHT, implicitPrefs=True, seed=SEED,
        numUserBlocks=_BLOCKS, numItemBlocks=_BLOCKS, userCol="example", itemCol="item", ratingCol="events",
    ).fit(counts)


def item_counts(examples: DataFrame) -> DataFrame:
    """example (a number), item, events: one row per example and known item in it."""
    # ids are 64-bit hashes; among a million examples some 230 pairs share a number and count as one history
    example = F.pmod("example_id", F.lit(_MAX_USERS)).cast("int").alias("example")
    items = examples.select(example, F.explode("item").alias("item")).where(F.col("item") >= FIRST_ITEM)
    return items.groupBy("example", "item").agg(F.count(F.lit(1)).cast("float").alias("events"))


@dataclass(frozen=True)
class Histories:
    """The items of each history and how often each was turned to; short histories are padded with 0 events."""

    item_HM: np.ndarray
    events_HM: np.ndarray


@dataclass(frozen=True)
class LatentFactors:
    """Fitted items; one without factors is a row of zeros."""

    factors_ID: np.ndarray

    @cached_property
    def gram(self) -> np.ndarray:
        return self.factors_ID.T @ self.factors_ID

    def scores(self, histories: Histories) -> np.ndarray:
        """scores_HI: -inf for items without factors, and for all where no item of the history has any."""
        x_HD = self.solve(histories)
        fitted_I = self.factors_ID.any(axis=1)
        return np.where(np.any(x_HD, axis=1)[:, None] & fitted_I, x_HD @ self.factors_ID.T, -np.inf)

    def solve(self, histories: Histories) -> np.ndarray:
        """x_HD; zeros where no item of the history has factors."""
        y_HMD = self.factors_ID[histories.item_HM]
        known_HM = (histories.events_HM > 0) & y_HMD.any(axis=2)
        weight_HM = EVENT_WEIGHT * histories.events_HM * known_HM  # c - 1; c = 1 of every item is the gram matrix
        left_HDD = self.gram + (y_HMD * weight_HM[:, :, None]).transpose(0, 2, 1) @ y_HMD
        ridge_H = REGULARIZATION * np.maximum(1, known_HM.sum(axis=1))
        left_HDD += ridge_H[:, None, None] * np.eye(self.factors_ID.shape[1])
        right_H1D = (weight_HM + known_HM)[:, None, :] @ y_HMD
        return np.linalg.solve(left_HDD, right_H1D.transpose(0, 2, 1))[:, :, 0]


def histories_until(item_N: np.ndarray, length_B: np.ndarray, asked_N: np.ndarray, at_once: int) -> Iterator[Histories]:
    """For each asked event its example's items up to and with it, in order, in parts of `at_once` histories.

        item    [[7, 9, 7], [4]]
        asked   [[0, 1, 1], [1]]   ->   item [[7, 9], [7, 9], [4, 0]],  events [[1, 1], [2, 1], [1, 0]]
    """
    place_N = np.arange(len(item_N)) - np.repeat(length_B.cumsum() - length_B, length_B)
    asked_H = np.flatnonzero(asked_N)
    for start in range(0, len(asked_H), at_once):
        last_H = asked_H[start : start + at_once]
        yield _histories(item_N, last_H, place_N[last_H] + 1)


def _histories(item_N: np.ndarray, last_H: np.ndarray, length_H: np.ndarray) -> Histories:
    """Those that end with the events `last_H` and begin `length_H` events before their ends."""
    history_E = np.repeat(np.arange(len(last_H)), length_H)
    back_E = np.repeat(length_H.cumsum(), length_H) - 1 - np.arange(len(history_E))
    item_E = item_N[last_H[history_E] - back_E].astype(np.int64)
    known_E = item_E >= FIRST_ITEM
    size = int(item_N.max(initial=0)) + 1
    pairs, events = np.unique((history_E * size + item_E)[known_E], return_counts=True)
    history, item = np.divmod(pairs, size)  # sorted by history, then item
    items_H = np.bincount(history, minlength=len(last_H))
    place = np.arange(len(pairs)) - np.repeat(items_H.cumsum() - items_H, items_H)
    shape = len(last_H), int(items_H.max(initial=0))
    found = Histories(np.full(shape, PADDING), np.zeros(shape))
    found.item_HM[history, place], found.events_HM[history, place] = item, events
    return found
