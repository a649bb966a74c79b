"""All journeys of a shop as one Spark frame: one row per visitor, events as an array of structs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, cast

import pyarrow as pa

from purchasepath.config import Simulate
from purchasepath.synthetic.catalogue import catalogue_of
from purchasepath.synthetic.journey import Journey, simulate_visitor
from purchasepath.synthetic.paths import PathModel
from purchasepath.synthetic.walk import Event

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

EVENT_FIELDS = (
    "number int, session int, ts_us bigint, type string, item string, category string, brand string, price double, "
    "quantity int, order string, query string, channel string, campaign string, device string, promo boolean, "
    "focused boolean"
)
"""Spark type of each field of `walk.Event`, in order."""
JOURNEY_DDL = (
    "visitor string, is_bot boolean, login string, login_from int, churned_us bigint, "
    "favourite_categories array<string>, favourite_brands array<string>, price_band string, propensity double, "
    f"pause_days double, events array<struct<{EVENT_FIELDS}>>"
)
VISITORS_PER_BATCH = 500


def draw_journeys(
    spark: SparkSession, simulate: Simulate, paths: PathModel, partitions: int | None = None
) -> DataFrame:
    """One row per visitor (columns `JOURNEY_DDL`).

    Each visitor is a function of (simulate, paths, number), so `partitions` moves rows and changes none.
    """
    from pyspark.sql.pandas.types import to_arrow_schema
    from pyspark.sql.types import StructType

    schema = to_arrow_schema(cast(StructType, StructType.fromDDL(JOURNEY_DDL)))

    def draw(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        numbers = (number for batch in batches for number in batch.column(0).to_pylist())
        while chunk := list(islice(numbers, VISITORS_PER_BATCH)):
            yield journeys_to_arrow([simulate_visitor(simulate, paths, n) for n in chunk], simulate, schema)

    visitors = spark.range(0, simulate.users, 1, partitions or max(2, spark.sparkContext.defaultParallelism))
    return visitors.mapInArrow(draw, JOURNEY_DDL)


def journeys_to_arrow(journeys: list[Journey], simulate: Simulate, schema: pa.Schema) -> pa.RecordBatch:
    """The journeys as one record batch of `schema`; columns are built whole, events through offsets."""
    categories = catalogue_of(simulate).categories
    visitors = [journey.visitor for journey in journeys]
    events = _events_to_arrow(journeys, schema.field("events").type)
    columns = {
        "visitor": [v.visitor for v in visitors],
        "is_bot": [v.is_bot for v in visitors],
        "login": [v.login for v in visitors],
        "login_from": [j.login_from for j in journeys],
        "churned_us": [j.churned_us for j in journeys],
        "favourite_categories": [[categories[c] for c in v.categories] for v in visitors],
        "favourite_brands": [[f"brand-{b:02d}" for b in v.brands] for v in visitors],
        "price_band": [v.price_band for v in visitors],
        "propensity": [v.propensity for v in visitors],
        "pause_days": [v.pause_days for v in visitors],
    }
    arrays = [pa.array(columns[f.name], f.type) if f.name in columns else events for f in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _events_to_arrow(journeys: list[Journey], kind: pa.ListType) -> pa.ListArray:
    offsets = [0]
    for journey in journeys:
        offsets.append(offsets[-1] + len(journey.events))
    rows = [event for journey in journeys for event in journey.events]
    fields = list(kind.value_type)
    assert tuple(f.name for f in fields) == Event._fields, "EVENT_FIELDS must name the fields of walk.Event in order"
    values = list(zip(*rows, strict=True)) or [()] * len(fields)
    structs = pa.StructArray.from_arrays(
        [pa.array(column, f.type) for column, f in zip(values, fields, strict=True)], fields=fields
    )
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs, type=kind)
