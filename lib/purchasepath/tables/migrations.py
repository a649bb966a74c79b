"""Tables as earlier releases declared them, and what becomes of their rows.

A column that may be null is simply null in older files. Every other change of a declaration is a line here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyspark.sql.functions as F
from pyspark.sql import DataFrame

from purchasepath.tables.learning import RUN_NUMBER, SCORES
from purchasepath.tables.types import Column as C
from purchasepath.tables.types import Table


@dataclass(frozen=True)
class Migration:
    """`rewrite` makes rows of `table` from those of the declaration that it `was`."""

    table: Table
    was: Table
    rewrite: Callable[[DataFrame], DataFrame]


_WIDE_SCORES = Table(
    SCORES.name,
    "user, as-of date and model",
    "score",
    (
        C("user_id", "string", "keyed pseudonym of the visitor"),
        C("as_of", "timestamp", "the scores use only events before this time that had arrived by it"),
        C("purchase_probability", "float", "probability of a purchase within the horizon after as_of"),
        C("num_events", "int", "events the model saw of this user"),
        C("horizon_hours", "double", "the horizon"),
        C("model_version", "string", "fingerprint of the bundle"),
        C("run_id", "string", "run of the score job"),
        RUN_NUMBER,
        C("as_of_date", "date", "day (UTC) of as_of"),
        C("model_name", "string", "name of the bundle"),
    ),
    partition_by=("as_of_date", "model_name"),
)


def _lengthen_scores(wide: DataFrame) -> DataFrame:
    return wide.withColumns({
        "entity": F.lit("visitor"), "entity_id": F.col("user_id"), "task": F.lit("purchase"),
        "value": F.col("purchase_probability"),
    }).drop("user_id", "purchase_probability")


MIGRATIONS: tuple[Migration, ...] = (
    Migration(SCORES, _WIDE_SCORES, _lengthen_scores),
)
