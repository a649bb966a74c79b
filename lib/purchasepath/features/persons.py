"""Features of the person behind a visitor: all visitors that an account is known to stand behind count as one.

    visitor, as-of time      person_id          features of person_id at that time
    phone    Monday          phone              the phone's own
    phone    Tuesday         anna, logged in    those of the phone and the laptop together, on both
    laptop   Tuesday         anna

Rows stay one per visitor and as-of time; the visitors of a person share its values. Who stands behind a visitor is
asked for every as-of time anew, so a login changes nothing before the time it became known.
"""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
import pyspark.sql.functions as F
from pyspark.sql import DataFrame

from purchasepath.sessions.identity import persons_as_of


def persons_behind(identities: DataFrame, times: list[datetime]) -> DataFrame:
    """user_id, as_of_us, person_id: of visitors behind whom an account is known to stand at that time."""
    at = identities.sparkSession.createDataFrame(pa.table({"as_of": pa.array(times, pa.timestamp("us", "UTC"))}))
    points = identities.select("user_id").distinct().crossJoin(F.broadcast(at))
    known = persons_as_of(points, identities).where(F.col("person_id") != F.col("user_id"))
    return known.select("user_id", F.unix_micros("as_of").alias("as_of_us"), "person_id")


def as_persons(rows: DataFrame, behind: DataFrame) -> DataFrame:
    """`rows` (at least user_id, as_of_us) with the person in place of the visitor in `user_id`."""
    joined = rows.join(behind, on=["user_id", "as_of_us"], how="left")  # unique in `behind`
    return joined.withColumn("user_id", F.coalesce("person_id", "user_id")).drop("person_id")


def hand_to_visitors(features: DataFrame, visitors: DataFrame, behind: DataFrame) -> DataFrame:
    """`features` (of persons, in `user_id`, at `as_of`) for each of `visitors` (user_id, as_of_us) of a person."""
    joined = visitors.join(behind, on=["user_id", "as_of_us"], how="left")  # unique in `behind`
    owners = joined.select(
        F.col("user_id").alias("visitor_id"), F.coalesce("person_id", "user_id").alias("user_id"),
        F.timestamp_micros("as_of_us").alias("as_of"))
    shared = owners.join(features, on=["user_id", "as_of"], how="inner")  # unique in `features`, and always there
    return shared.drop("user_id").withColumnRenamed("visitor_id", "user_id")
