"""Baselines that cost more than a few seconds: second-order Markov, and item-to-item neighbours.

Both build on `baselines.py`: neighbours are ranked as transitions are, and a pair of items that was never seen, or not
with this successor, falls back to its second item's transitions.
"""

from __future__ import annotations

import pyspark.sql.functions as F
from pyspark.sql import DataFrame, Window

from purchasepath.datasets.manifest import FIRST_ITEM, NO_ITEM
from purchasepath.models.baselines import bounded, rank_successors

_PAIR = ("before", "state")


def item_neighbours(examples: DataFrame, popular: DataFrame) -> DataFrame:
    """`rank_successors` of every item by the cosine of the sets of examples that two items occur in.

    The item itself is no neighbour of its own.
    """
    items = examples.select(F.explode(F.array_distinct("item")).alias("item"), "example_id")
    known = items.where(F.col("item") >= FIRST_ITEM)
    sizes = known.groupBy("item").agg(F.count(F.lit(1)).alias("size"))
    others = known.select(F.col("item").alias("state"), "example_id")
    together = (
        known.join(others, on="example_id", how="inner")
        .where(F.col("item") != F.col("state"))
        .groupBy("state", "item").agg(F.count(F.lit(1)).alias("together"))
    )
    state_sizes = sizes.select(F.col("item").alias("state"), F.col("size").alias("state_size"))
    likeness = (
        together.join(sizes, on="item", how="inner").join(state_sizes, on="state", how="inner")
        .select("state", "item", (F.col("together") / F.sqrt(F.col("size") * F.col("state_size"))).alias("seen"))
    )
    return rank_successors(likeness, popular)


def pair_transitions(train_targets: DataFrame, moves: DataFrame) -> DataFrame:
    """One row per (before, state, item) seen on the training span, ranked within its pair.

    More often seen first, then as after `state` alone (`moves`). seen_rank counts ties in both against us,
    place has none; first_rank is the item's seen_rank after `state` alone.
    """
    known = train_targets.where((F.col("item") >= FIRST_ITEM) & (F.col("before") != NO_ITEM))
    counts = known.groupBy(*_PAIR, "item").agg(F.count(F.lit(1)).alias("seen"))
    first = moves.select("state", "item", F.col("seen_rank").alias("first_rank"))
    pair = Window.partitionBy(*_PAIR)
    best_first = (F.col("seen").desc(), F.col("first_rank"))
    so_far = pair.orderBy(*best_first).rangeBetween(Window.unboundedPreceding, Window.currentRow)
    whole = pair.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
    return counts.join(first, on=["state", "item"], how="inner").select(
        *_PAIR, "item", "first_rank",
        F.row_number().over(pair.orderBy(*best_first, "item")).alias("place"),
        F.count(F.lit(1)).over(so_far).alias("seen_rank"),
        F.count(F.lit(1)).over(whole).alias("successors"),
    )


def pair_states(pair_moves: DataFrame, max_k: int) -> DataFrame:
    """One row per (before, state): pair_successors, best (its first max_k, in order), best_ranks (parallel)."""
    first = F.sort_array(F.collect_list(F.struct("place", "item", "first_rank")))
    return (
        pair_moves.where(F.col("place") <= max_k)
        .groupBy(*_PAIR)
        .agg(F.max("successors").alias("pair_successors"), first.alias("first"))
        .select(*_PAIR, "pair_successors", F.col("first.item").alias("best"),
                F.col("first.first_rank").alias("best_ranks"))
    )


def add_pair_rank(ranked: DataFrame, pair_moves: DataFrame, states: DataFrame, max_k: int) -> DataFrame:
    """`ranked` (before, state, item and the rank after `state` alone) with the rank after both.

    Successors of the pair come first. Every other item keeps the order it has after `state` alone, and moves down by
    the successors of the pair that stood behind it there.
    """
    seen = pair_moves.select(*_PAIR, "item", "seen_rank")
    known = ranked.join(seen, on=[*_PAIR, "item"], how="left").join(states, on=list(_PAIR), how="left")
    successors = F.coalesce("pair_successors", F.lit(0))
    # best_ranks is complete wherever it matters: with max_k successors the rank is beyond max_k anyway
    counted_twice = F.when(F.col("best_ranks").isNull(), 0).otherwise(
        F.size(F.filter("best_ranks", lambda rank: rank <= F.col("rank")))
    )
    behind = F.when(successors < max_k, F.col("rank") + successors - counted_twice)
    return known.select(*(c for c in ranked.columns if c != "rank"), bounded(F.coalesce("seen_rank", behind), max_k))


def pair_answers(targets: DataFrame, states: DataFrame, answers: DataFrame, max_k: int) -> DataFrame:
    """before, state, answer: the first max_k items shown after each pair in `targets`.

    `answers` are those after `state` alone.
    """
    best = F.coalesce("best", F.lit([]).cast("array<int>"))
    return (
        targets.select(*_PAIR).distinct()
        .join(states, on=list(_PAIR), how="left")
        .join(answers, on="state", how="inner")
        .select(*_PAIR, F.slice(F.array_distinct(F.concat(best, "answer")), 1, max_k).alias("answer"))
    )
