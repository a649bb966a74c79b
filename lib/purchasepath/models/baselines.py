"""What every model is set beside: popular items, item-to-item transitions, a logistic regression.

All three are computed by Spark from tables and stay tables: nothing here grows with the data on one machine.

A next-item answer is a full ranking of the catalogue, and a rank is `1 + the number of other items scored at
least as high`, so ties count against a baseline as they do against the model. Ranks beyond the largest cut-off
are all `max_k + 1`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pyspark.sql.functions as F
from pyspark.ml.classification import LogisticRegression, LogisticRegressionModel
from pyspark.ml.functions import array_to_vector
from pyspark.ml.regression import LinearRegression, LinearRegressionModel
from pyspark.sql import Column, DataFrame, Window

from purchasepath.datasets.manifest import FIRST_ITEM, NO_ITEM
from purchasepath.datasets.sequences import events_of, known_in
from purchasepath.datasets.split import Span
from purchasepath.features.as_of import to_us

POPULAR_DAYS = 7
_WHOLE = (Window.unboundedPreceding, Window.unboundedFollowing)
_SO_FAR = (Window.unboundedPreceding, Window.currentRow)


def popularity(sessions: DataFrame, vocabulary: DataFrame, end: datetime, days: float = POPULAR_DAYS) -> DataFrame:
    """One row per item of the vocabulary: item (its id), popular (times turned to), popular_rank.

    A visitor turns to an item with an event on it that follows one on another item or on none. Counted are
    people's events of the `days` before `end`, as far as they had arrived by then.
    """
    start = end - timedelta(days=days)
    recent = sessions.where((F.col("ended_at") >= F.lit(start)) & (F.col("started_at") < F.lit(end)))
    events = known_in(events_of(recent), Span("popular", to_us(start), to_us(end)))
    before = F.lag("item_id").over(Window.partitionBy("user_id").orderBy("at_us", "in_instant"))
    turned_to = events.withColumn("turned", F.col("item_id").isNotNull() & ~F.col("item_id").eqNullSafe(before))
    counts = (
        turned_to.where(F.col("turned") & (F.col("at_us") >= to_us(start)))
        .groupBy("item_id").agg(F.count(F.lit(1)).alias("popular"))
    )
    catalogue = vocabulary.select("item_id", F.col("id").alias("item")).join(counts, on="item_id", how="left").select(
        "item", F.coalesce("popular", F.lit(0).cast("bigint")).alias("popular")
    )
    # one partition, of one narrow row per item
    at_least_as_popular = Window.orderBy(F.col("popular").desc()).rangeBetween(*_SO_FAR)
    return catalogue.withColumn("popular_rank", F.count(F.lit(1)).over(at_least_as_popular))


def item_targets(examples: DataFrame, *beside: str) -> DataFrame:
    """One row per next-item target of EXAMPLES: before and state (the last two items seen), item (the target).

    And the columns `beside` of its example. Before and state look through events without an item, such as searches,
    and are NO_ITEM where there is none.
    """
    each = F.posexplode(F.arrays_zip("item", "target")).alias("position", "event")
    events = examples.select("example_id", *beside, each)
    history = Window.partitionBy("example_id").orderBy("position")
    seen = F.when(F.col("event.item") != NO_ITEM, F.col("event.item"))
    earlier = F.last(seen, ignorenulls=True).over(history.rowsBetween(Window.unboundedPreceding, -1))
    steps = events.select(
        "example_id", "position", *beside, F.col("event.target").alias("item"),
        F.when(seen.isNotNull(), F.struct(earlier.alias("before"), seen.alias("state"))).alias("step"),
    )
    last_step = F.last("step", ignorenulls=True).over(history.rowsBetween(*_SO_FAR))
    none = F.lit(NO_ITEM)
    return (
        steps.withColumn("last", last_step)
        .select(F.coalesce("last.before", none).alias("before"), F.coalesce("last.state", none).alias("state"), "item",
                *beside)
        .where(F.col("item") > 0)
    )


def transitions(train_targets: DataFrame, popular: DataFrame) -> DataFrame:
    """One row per (state, item) seen on the training span, ranked within its state.

    seen (times), popular, place (1, 2, 3 …: more often seen first, then more popular, then smaller id),
    seen_rank (ties of both counts against us), successors (different items seen after the state).
    """
    known = train_targets.where(F.col("item") >= FIRST_ITEM)
    return rank_successors(known.groupBy("state", "item").agg(F.count(F.lit(1)).alias("seen")), popular)


def rank_successors(counts: DataFrame, popular: DataFrame) -> DataFrame:
    """`counts` (state, item, seen) of items that `popular` knows, with what `transitions` adds."""
    state = Window.partitionBy("state")
    best_first = (F.col("seen").desc(), F.col("popular").desc())
    return counts.join(popular.select("item", "popular"), on="item", how="inner").select(
        "state", "item", "seen", "popular",
        F.row_number().over(state.orderBy(*best_first, "item")).alias("place"),
        F.count(F.lit(1)).over(state.orderBy(*best_first).rangeBetween(*_SO_FAR)).alias("seen_rank"),
        F.count(F.lit(1)).over(state.rowsBetween(*_WHOLE)).alias("successors"),
    )


def popular_in_category(popular: DataFrame, sides: DataFrame) -> DataFrame:
    """One row per item whose category is known, as `transitions`: state is its category, seen how popular it is."""
    categories = sides.where(F.col("category") > 0).select(F.col("id").alias("item"), F.col("category").alias("state"))
    counts = popular.join(categories, on="item", how="inner").select("state", "item", F.col("popular").alias("seen"))
    return rank_successors(counts, popular)


def with_category(targets: DataFrame, sides: DataFrame) -> DataFrame:
    """`targets` whose state is the category of the last item seen; null where it is not known."""
    known = sides.where(F.col("category") > 0).select(F.col("id").alias("state"), "category")
    others = [name for name in targets.columns if name != "state"]
    return targets.join(known, on="state", how="left").select(F.col("category").alias("state"), *others)


def markov_states(moves: DataFrame, max_k: int) -> DataFrame:
    """One row per state: successors, best (its first max_k successors, in order), best_popular (parallel)."""
    first = F.sort_array(F.collect_list(F.struct("place", "item", "popular")))
    return (
        moves.where(F.col("place") <= max_k)
        .groupBy("state")
        .agg(F.max("successors").alias("successors"), first.alias("first"))
        .select("state", "successors", F.col("first.item").alias("best"), F.col("first.popular").alias("best_popular"))
    )


def add_popular_rank(targets: DataFrame, popular: DataFrame, max_k: int) -> DataFrame:
    """`targets` and each one's rank among the popular items."""
    known = targets.join(popular, on="item", how="left")
    return known.select(*targets.columns, bounded(F.col("popular_rank"), max_k))


def add_markov_rank(
    targets: DataFrame, moves: DataFrame, states: DataFrame, popular: DataFrame, max_k: int
) -> DataFrame:
    """`targets` and each one's rank among its state's successors, given `transitions` and `markov_states`.

    Items never seen after the state follow all that were, by popularity: such an item's rank is the number of
    successors, plus the number of other items at least as popular as it.
    """
    known = (
        targets.join(moves.select("state", "item", "seen_rank"), on=["state", "item"], how="left")
        .join(states, on="state", how="left")
        .join(popular, on="item", how="left")
    )
    successors = F.coalesce("successors", F.lit(0))
    # best_popular is complete wherever it matters: with max_k successors the rank is beyond max_k anyway
    counted_twice = F.when(F.col("best_popular").isNull(), 0).otherwise(
        F.size(F.filter("best_popular", lambda p: p >= F.col("popular")))
    )
    unseen_rank = successors + F.col("popular_rank") - counted_twice
    rank = F.when(F.col("seen_rank").isNotNull(), F.col("seen_rank")).when(successors < max_k, unseen_rank)
    return known.select(*targets.columns, bounded(rank, max_k))


def most_popular(popular: DataFrame, k: int) -> list[int]:
    """The k most popular items; equally popular ones by smaller id."""
    best = popular.orderBy(F.col("popular").desc(), "item").limit(k)
    return [row["item"] for row in best.collect()]


def markov_answers(targets: DataFrame, states: DataFrame, popular: DataFrame, max_k: int) -> DataFrame:
    """state, answer: the first max_k items shown after each state that occurs in `targets`."""
    fill = F.lit(most_popular(popular, 2 * max_k)).cast("array<int>")
    best = F.coalesce("best", F.lit([]).cast("array<int>"))
    return (
        targets.select("state").distinct()
        .join(states, on="state", how="left")
        .select("state", F.slice(F.concat(best, F.array_except(fill, best)), 1, max_k).alias("answer"))
    )


def labelled_points(
    examples: DataFrame, task: str, label_names: Sequence[str], num_features: int, *beside: str
) -> DataFrame:
    """One row per as-of point of EXAMPLES where the task is asked: features (idle time first), label, `beside`."""
    points = examples.select("features", "labels", *beside, F.posexplode("idle").alias("number", "idle"))
    own = F.slice("features", F.col("number") * num_features + 1, num_features)
    label = F.get("labels", F.col("number") * len(label_names) + label_names.index(task))
    return points.select(
        F.concat(F.array("idle"), own).alias("features"), label.cast("double").alias("label"), *beside
    ).where(~F.isnan("label"))


def logistic_answers(train_points: DataFrame, test_points: DataFrame) -> DataFrame:
    """`test_points` with an answer in the place of features: the probability of a logistic regression on them.

    It is fitted on the training points and sees what a head sees beside the sequence.
    """
    regression = LogisticRegression(featuresCol="x", regParam=1e-4, maxIter=100, standardization=True)
    logit = _linear_term(regression.fit(_vectors(train_points)))
    return test_points.withColumn("answer", 1 / (1 + F.exp(-logit))).drop("features")


def linear_answers(train_points: DataFrame, test_points: DataFrame) -> DataFrame:
    """The same by least squares, for amounts and counts; nothing below 0."""
    regression = LinearRegression(featuresCol="x", regParam=1e-2, standardization=True)
    answer = _linear_term(regression.fit(_vectors(train_points)))
    return test_points.withColumn("answer", F.greatest(answer, F.lit(0.0))).drop("features")


def _vectors(points: DataFrame) -> DataFrame:
    return points.select(array_to_vector(F.col("features")).alias("x"), "label")


def _linear_term(fitted: LogisticRegressionModel | LinearRegressionModel) -> Column:
    # not fitted.transform: the fitted model drags its training summary, and with it the session, into every task
    weights = F.array(*(F.lit(float(weight)) for weight in fitted.coefficients.toArray()))
    terms = F.zip_with("features", weights, lambda feature, weight: feature * weight)
    return F.aggregate(terms, F.lit(float(fitted.intercept)), lambda total, term: total + term)


def bounded(rank: Column, max_k: int) -> Column:
    """Ranks beyond max_k, and targets that have none (unknown items), are max_k + 1."""
    beyond = F.lit(max_k + 1)
    return F.least(F.coalesce(rank, beyond), beyond).cast("int").alias("rank")
