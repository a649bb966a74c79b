"""SESSION_FEATURES from SESSIONS."""

from __future__ import annotations

import pyspark.sql.functions as F
from pyspark.sql import DataFrame

from purchasepath.features.aggregations import (
    add_derived,
    aggregate_part,
    finish,
    input_columns,
    merged_name,
    used_inputs,
)
from purchasepath.features.inputs import SESSION_INPUTS
from purchasepath.features.known import explode_events
from purchasepath.tables.features import SESSION_FEATURES, SESSION_FEATURES_DECLARED
from purchasepath.tables.partials import parts_of

_FIRST_OF = {"item": ("item_ids", "item_id"), "category": ("categories", "category")}
"""Input of `count_distinct` → array of the session, column of the event."""


def summarize_sessions(sessions: DataFrame) -> DataFrame:
    """SESSION_FEATURES from SESSIONS, partition by partition."""
    key = ["session_id", "user_id", "start_us", "session_date"]
    arrays = [array for array, _ in _FIRST_OF.values()]
    events = explode_events(sessions, "session_id", "session_date", "is_bot", *arrays)
    inputs = input_columns(used_inputs(SESSION_FEATURES_DECLARED), SESSION_INPUTS)
    stands_for = [(F.array_position(array, F.col(column)) == F.col("position") + 1).alias(f"stands_for_{name}")
                  for name, (array, column) in _FIRST_OF.items()]  # the first event with that item counts for it
    rows = events.select(*key, "position", "event_us", *stands_for, *(c.alias(name) for name, c in inputs.items()))
    parts = [aggregate_part(part).alias(part.name) for part in parts_of(SESSION_FEATURES_DECLARED)]
    counts = [F.count_if(f"stands_for_{f.input}").alias(merged_name("distinct", f))
              for f in SESSION_FEATURES_DECLARED if f.aggregation == "count_distinct"]
    finished = rows.groupBy(*key).agg(*parts, *counts).select(
        "session_id", "user_id", F.timestamp_micros("start_us").alias("started_at"), "session_date",
        *(finish(f) for f in SESSION_FEATURES_DECLARED if not f.derived))
    return SESSION_FEATURES.select(add_derived(finished, SESSION_FEATURES_DECLARED))
