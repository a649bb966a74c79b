"""The baselines' answers on the test split: frames; ranks are counted by Spark, probabilities as the model's are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyspark.sql.functions as F
from pyspark.sql import DataFrame

from purchasepath.config import Evaluate
from purchasepath.datasets.asked import teaches
from purchasepath.datasets.manifest import FIRST_ITEM, Manifest
from purchasepath.errors import ConfigError
from purchasepath.models.baselines import (
    add_markov_rank,
    add_popular_rank,
    item_targets,
    labelled_points,
    linear_answers,
    logistic_answers,
    markov_answers,
    markov_states,
    popular_in_category,
    transitions,
    with_category,
)
from purchasepath.models.neighbours import (
    add_pair_rank,
    item_neighbours,
    pair_answers,
    pair_states,
    pair_transitions,
)
from purchasepath.scoring.amounts import AmountSums
from purchasepath.scoring.answers import Answers
from purchasepath.scoring.counting import (
    Counting,
    Key,
    PointCounts,
    amount_counts,
    binary_counts,
    count_answers,
    counted_batch,
    no_ranks,
)
from purchasepath.scoring.factors import factor_answers
from purchasepath.tables.tasks import Kind, of_kind

Keep = Callable[[DataFrame, str], DataFrame]
"""Stores a frame that is used several times, under a name, and reads it back."""


def baseline_answers(
    train: DataFrame, test: DataFrame, popular: DataFrame, *, manifest: Manifest, sides: DataFrame, config: Evaluate,
    keep: Keep, tasks: Sequence[str],
) -> dict[str, Answers]:
    """Answers of the configured baselines at the same targets and points, of regressions to the given `tasks`.

    `popular` is `baselines.popularity` before the test span, `sides` SIDE_FEATURES.
    """
    if "popular_category_7d" in config.baselines and "category" not in manifest.side_features:
        raise ConfigError(["evaluate.baselines asks for popular_category_7d, and the dataset does not know the items' "
                           "categories; write it again with `category` among dataset.side_features"])
    items = ItemBaselines(train, test, popular, sides, config.ks, keep, num_known=manifest.num_known)
    regression = RegressionBaselines(train, test, manifest)
    known: dict[str, Callable[[], Answers]] = {
        "popular_7d": items.popular_7d,
        "popular_category_7d": items.popular_category_7d,
        "markov_1": items.markov_1,
        "markov_2": items.markov_2,
        "item_knn": items.item_knn,
        "als": lambda: factor_answers(train, test, items.popular, manifest, ks=config.ks),
        "logistic_regression": lambda: regression.logistic(tasks),
        "linear_regression": lambda: regression.linear(tasks),
    }
    return {name: answer() for name, answer in known.items() if name in config.baselines}


class ItemBaselines:
    """Answers to the next-item targets of `test`, learned from `train`. What several share is made when first used."""

    def __init__(
        self, train: DataFrame, test: DataFrame, popular: DataFrame, sides: DataFrame, ks: Sequence[int], keep: Keep, *,
        num_known: int,
    ) -> None:
        self.sides, self.num_known = sides, num_known
        self.train, self.test, self.train_targets = train, test, item_targets(train)
        self.ks, self.max_k, self.keep = ks, max(ks), keep
        self._popular = popular

    @cached_property
    def popular(self) -> DataFrame:
        return self.keep(self._popular, "popular")

    @cached_property
    def targets(self) -> DataFrame:
        return self.keep(item_targets(self.test, "bucket"), "targets")

    @cached_property
    def moves(self) -> DataFrame:
        return self.keep(transitions(self.train_targets, self.popular), "moves")

    @cached_property
    def states(self) -> DataFrame:
        return self.keep(markov_states(self.moves, self.max_k), "states")

    def popular_7d(self) -> Answers:
        ranks_GK, cold_GK = self._rank_counts(add_popular_rank(self.targets, self.popular, self.max_k))
        items = self.popular.count() if ranks_GK.any() else 0  # nothing is shown where there is no target
        return Answers(ranks_GK, cold_GK, {k: min(k, items) for k in self.ks})

    def popular_category_7d(self) -> Answers:
        shelves = self.keep(popular_in_category(self.popular, self.sides), "shelves")
        states = self.keep(markov_states(shelves, self.max_k), "shelf_states")
        targets = self.keep(with_category(self.targets, self.sides), "shelf_targets")
        return self._counted(
            add_markov_rank(targets, shelves, states, self.popular, self.max_k),
            markov_answers(targets, states, self.popular, self.max_k),
        )

    def markov_1(self) -> Answers:
        return self._counted(*self._after_one(self.moves, self.states))

    def markov_2(self) -> Answers:
        moves = self.keep(pair_transitions(self.train_targets, self.moves), "pair_moves")
        states = self.keep(pair_states(moves, self.max_k), "pair_states")
        ranked, answers = self._after_one(self.moves, self.states)
        return self._counted(
            add_pair_rank(ranked, moves, states, self.max_k),
            pair_answers(self.targets, states, answers, self.max_k),
        )

    def item_knn(self) -> Answers:
        neighbours = self.keep(item_neighbours(self.train, self.popular), "neighbours")
        states = self.keep(markov_states(neighbours, self.max_k), "neighbour_states")
        return self._counted(*self._after_one(neighbours, states))

    def _after_one(self, moves: DataFrame, states: DataFrame) -> tuple[DataFrame, DataFrame]:
        """(ranked targets, answers) by what follows the last item."""
        ranked = add_markov_rank(self.targets, moves, states, self.popular, self.max_k)
        return ranked, markov_answers(self.targets, states, self.popular, self.max_k)

    def _counted(self, ranked: DataFrame, answers: DataFrame) -> Answers:
        return Answers(*self._rank_counts(ranked), _shown_counts(answers, self.ks))

    def _rank_counts(self, ranked: DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Targets by bucket and rank; and the same of those without a history."""
        cold = (F.col("item") < FIRST_ITEM) | (F.col("item") >= self.num_known)
        rows = ranked.groupBy("bucket", "rank").agg(
            F.count(F.lit(1)).alias("n"), F.count_if(cold).alias("cold")
        ).toArrow()  # at most BUCKETS x (max_k + 1) rows
        counts_GK, cold_GK = no_ranks(self.ks), no_ranks(self.ks)
        at = rows["bucket"].to_numpy(), rows["rank"].to_numpy()
        counts_GK[at], cold_GK[at] = rows["n"].to_numpy(), rows["cold"].to_numpy()
        return counts_GK, cold_GK


class RegressionBaselines:
    """Answers at the as-of points of `test` from the features alone, learned from those of `train`.

    A task of which `train` has no two different answers gets none.
    """

    def __init__(self, train: DataFrame, test: DataFrame, manifest: Manifest) -> None:
        self.train, self.test, self.manifest = train, test, manifest

    def logistic(self, tasks: Sequence[str]) -> Answers:
        return Answers(binary={
            task: binary_counts(self._counted(task, logistic_answers, PointCounts), task)
            for task in self._of(tasks, Kind.BINARY)
        })

    def linear(self, tasks: Sequence[str]) -> Answers:
        return Answers(amounts={
            task: amount_counts(self._counted(task, linear_answers, AmountSums), task)
            for task in self._of(tasks, Kind.AMOUNT, Kind.COUNT)
        })

    def _of(self, tasks: Sequence[str], *kinds: Kind) -> list[str]:
        return [name for name in of_kind(*kinds) if name in tasks and name in self.manifest.label_names]

    def _counted(
        self, task: str, answers: Callable[[DataFrame, DataFrame], DataFrame],
        sums: Callable[[str], PointCounts | AmountSums],
    ) -> dict[Key, int]:
        if not teaches(task, self.manifest.asked["train"][task]):
            return {}
        train, test = (labelled_points(examples, task, self.manifest.label_names, self.manifest.num_features, *beside)
                       for examples, *beside in ((self.train,), (self.test, "bucket")))
        answered = answers(train, test).select("answer", "label", "bucket")
        return count_answers(answered, counting(lambda: sums(task)))


def counting(sums: Callable[[], PointCounts | AmountSums]) -> Counting:
    """Adds up answers, right answers and buckets of visitors."""
    def count(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        found = sums()
        for batch in batches:
            found.add(*(column.to_numpy() for column in batch.columns))
        yield counted_batch(found.rows())

    return count


def _shown_counts(answers: DataFrame, ks: Sequence[int]) -> dict[int, int]:
    """How many different items are among the first k of any answer."""
    best_place = answers.select(F.posexplode("answer").alias("place", "item")).groupBy("item").agg(
        F.min("place").alias("place"))
    found = best_place.agg(*[F.count_if(F.col("place") < k).alias(str(k)) for k in ks]).first()
    assert found is not None
    return {k: found[str(k)] for k in ks}
