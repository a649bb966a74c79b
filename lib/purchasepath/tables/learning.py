"""Tables around the model: what it learns from, how well it did, what it says."""

from __future__ import annotations

from purchasepath.tables.types import Column as C
from purchasepath.tables.types import Table

RUN_NUMBER = C("run_number", "bigint", "the run's place in the order of runs, whatever clocks say: the number of its "
                                       "commit; null of releases that kept none", nullable=True)

SCORES = Table(
    "scores",
    "entity, as-of date, task and model",
    "score",
    (
        C("entity", "string", "visitor"),
        C("entity_id", "string", "keyed pseudonym of the visitor"),
        C("as_of", "timestamp", "the scores use only events before this time that had arrived by it"),
        C("value", "float", "the model's answer: of a yes-or-no task the probability of yes, else the expected amount "
                            "or count"),
        C("num_events", "int", "events the model saw of this visitor"),
        C("horizon_hours", "double", "how far ahead the task looks"),
        C("model_version", "string", "fingerprint of the bundle"),
        C("run_id", "string", "run of the score job"),
        RUN_NUMBER,
        C("as_of_date", "date", "day (UTC) of as_of"),
        C("task", "string", "purchase, churn, value, orders or returns, as `model.tasks` has them"),
        C("model_name", "string", "name of the bundle"),
    ),
    key=("entity", "entity_id", "as_of_date", "task", "model_name"),
    partition_by=("as_of_date", "task", "model_name"),
)

RECOMMENDATIONS = Table(
    "recommendations",
    "user, rank, as-of date and model",
    "score",
    (
        C("user_id", "string", "keyed pseudonym of the visitor"),
        C("as_of", "timestamp", "as in scores"),
        C("rank", "int", "1 is the best"),
        C("item_id", "string", "the shop's item id"),
        C("score", "float", "the model's logit; comparable within one user only"),
        C("model_version", "string", "fingerprint of the bundle"),
        C("run_id", "string", "run of the score job"),
        RUN_NUMBER,
        C("as_of_date", "date", "day (UTC) of as_of"),
        C("model_name", "string", "name of the bundle"),
    ),
    key=("user_id", "rank", "as_of_date", "model_name"),
    partition_by=("as_of_date", "model_name"),
)

METRICS = Table(
    "metrics",
    "model, task and metric",
    "evaluate",
    (
        C("model", "string", "purchasepath (ours) or a baseline of `evaluate.baselines`"),
        C("task", "string", "next_item (the task item), or another one of `model.tasks`; cold_item: the next items "
                            "without a history on the training span"),
        C("metric", "string", "recall, ndcg, mrr, coverage, roc_auc, pr_auc, precision, recall, f1, log_loss, "
                              "calibration_error (bins of equal width), calibration_error_mass (of equal mass), "
                              "base_rate, accuracy; with _raw: before calibration. Of amounts and counts mean (of what "
                              "came), sum_error (predicted / came - 1), spearman, gini (normalised), "
                              "top_decile_share, decile_error (see `scoring/amounts.py`)"),
        C("k", "int", "cut-off of a ranking metric", nullable=True),
        C("value", "double", "the metric; null where it is not defined (one class only, nothing to rank)",
          nullable=True),
        C("low", "double", "lower end of the 95 % interval of value, from resampling visitors; null for coverage and "
                           "calibration errors, which resampling does not tell, and where the value hangs on too few "
                           "visitors", nullable=True),
        C("high", "double", "upper end", nullable=True),
        C("baseline", "string", "beside ours: the baseline with the highest value (lowest of a loss); null where "
                                "there is none or the metric has no interval", nullable=True),
        C("difference", "double", "value - the baseline's", nullable=True),
        C("difference_low", "double", "lower end of the 95 % interval of difference, the same visitors drawn for both; "
                                      "null where it hangs on too few visitors. With 0 inside, or null, the "
                                      "difference may be chance", nullable=True),
        C("difference_high", "double", "upper end", nullable=True),
        C("support", "bigint", "targets or points it was measured on"),
        C("protocol", "string", "how it was measured"),
        C("model_version", "string", "fingerprint of the bundle it was measured beside"),
        C("run_id", "string", "run of the evaluate job"),
    ),
    key=("model", "task", "metric", "k"),
)

CALIBRATION = Table(
    "calibration",
    "model, task and bin of answers",
    "evaluate",
    (
        C("model", "string", "as in metrics"),
        C("bin", "int", "0-9: of probabilities of equal width, of amounts and counts tenths of the points, rising"),
        C("points", "bigint", "predictions in the bin"),
        C("mean_predicted", "double", "mean predicted probability, amount or count"),
        C("observed", "double", "share of yes, or mean of what came"),
        C("task", "string", "as in metrics; null of releases that knew purchase alone", nullable=True),
    ),
    key=("model", "task", "bin"),
)

TRAINING_CURVES = Table(
    "training_curves",
    "epoch of the newest training run",
    "train",
    (
        C("epoch", "int", "from 1"),
        C("metric", "string", "train_loss, valid_loss, valid_item_loss, valid_purchase_loss, valid_recall_10 …"),
        C("value", "double", "value at the end of the epoch"),
        C("model_version", "string", "fingerprint of the bundle"),
    ),
    key=("epoch", "metric"),
)

EXAMPLES = Table(
    "examples",
    "stretch of at most dataset.max_length events of one user, in one split",
    "dataset",
    (
        C("example_id", "bigint", "hash of user_id, split and the stretch's number"),
        C("visitor", "bigint", "hash of user_id: the same for all examples of a visitor", nullable=True),
        C("item", "array<int>", "vocabulary id of each event's item (see VOCABULARY)"),
        C("type", "array<int>", "1 + position of the event's type in EVENT_TYPES"),
        C("gap", "array<float>", "log(1 + seconds since the user's previous event); 0 for the first"),
        C("price", "array<float>", "standardised log(1 + price); 0 where unknown"),
        C("target", "array<int>", "item of the next event if it has one, other than this event's, that belongs to "
                                  "the split; 0: no target"),
        C("outcome", "array<int>", "what follows in the event's session: 3 a purchase, 2 none; 1: not asked, as it "
                                   "has bought already, ends after the split or may go on after the data's end, or the "
                                   "event lies before the split; "
                                   "0: context, nothing is predicted here"),
        C("point", "array<int>", "for each as-of time: position of the last event before it"),
        C("idle", "array<float>", "for each as-of time: log(1 + seconds since that event)"),
        C("features", "array<float>", "for each as-of time: the standardised user features, flattened"),
        C("labels", "array<float>", "for each as-of time: the right answers, of each task in the order of the "
                                    "manifest's label_names, flattened; NaN where the task's horizon leaves the split"),
        C("split", "string", "train, valid or test"),
    ),
    key=("example_id",),
    partition_by=("split",),
)

VOCABULARY = Table(
    "vocabulary",
    "known item",
    "dataset",
    (
        C("item_id", "string", "the shop's item id"),
        C("id", "int", "0 padding, 1 no item, 2 unknown item; items from 3 by falling count, ties by item_id"),
        C("count", "bigint", "events on the training span; with `dataset.side_features` also fewer than "
                             "`dataset.min_item_count`: items without a history, 0 where only `paths.items` has it"),
    ),
    key=("item_id",),
)

SIDE_FEATURES = Table(
    "side_features",
    "known item, with `dataset.side_features`",
    "dataset",
    (
        C("id", "int", "as in vocabulary"),
        C("category", "int", "0: unknown, or of no item with a history; others from 1 by falling number of such items"),
        C("brand", "int", "the same for brands"),
        C("price", "int", "0: unknown; from 1: steps of half a standard deviation of the log price, the mean in the "
                          "middle one"),
        C("vector", "array<float>", "scaled to length 1; zeros where unknown, empty where vectors are not asked for"),
    ),
    key=("id",),
)
