"""The order of a visitor's events of one instant: `tie_order`, a number that each event has of its own file.

    highest rank of an event type so far << 27 | number among the visitor's events of the instant, in the file

    file a   view, cart        2 << 27 | 0, 3 << 27 | 1      by (event_ts, tie_order, event_id):
    file b   view, purchase    2 << 27 | 0, 6 << 27 | 1      view, view, cart (a), purchase (b)

Within a file it rises from record to record, so every file's own order is kept; files are merged by the way that
visitors go, from search to purchase. It depends on nothing but the file, so it is the same for any set, order and
names of files.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pyspark.sql.functions as F
from pyspark.sql import Column

from purchasepath.tables.catalog import EVENT_TYPES

_NUMBER_BITS = 27
_MOST_NUMBER = 2**_NUMBER_BITS - 1
_MOST = 2**31 - 1
"""Of a number in Spark's `int`; 8 ranks of 27 bits fit."""


def type_rank(event_type: Column) -> Column:
    """0 for a search … 7 for a return (int): the order in which visitors go."""
    return F.array_position(F.array(*map(F.lit, EVENT_TYPES)), event_type).cast("int") - 1


def tie_order_in_file(highest_rank: Column, number: Column) -> Column:
    """`tie_order` of the record `number` (from 0) of its instant, where `highest_rank` is the highest up to it."""
    return F.shiftleft(highest_rank, _NUMBER_BITS).bitwiseOR(F.least(number, F.lit(_MOST_NUMBER)).cast("int"))


def tie_order_by_type(event_type: Column) -> Column:
    """`tie_order` where the place in the file tells nothing: the event type's, and the ids decide among equal ones."""
    return F.shiftleft(type_rank(event_type), _NUMBER_BITS)


def tie_order_by_number(number: Column) -> Column:
    """`tie_order` where the shop numbers its events (bigint): that number, as far as an int reaches."""
    return F.greatest(F.lit(0), F.least(number, F.lit(_MOST))).cast("int")


def tie_order() -> Column:
    """`tie_order` of rows of EVENTS, also of those that were written without."""
    return F.coalesce(F.col("tie_order"), tie_order_by_type(F.col("event_type")))


def filled_tie_order(stored: pa.Array, event_type: pa.Array) -> pa.Array:
    """`tie_order` as a column of Arrow."""
    if not stored.null_count:
        return stored
    rank = pc.index_in(event_type.cast(pa.string()), pa.array(EVENT_TYPES)).fill_null(0)
    return pc.coalesce(stored, pc.shift_left(rank, pa.scalar(_NUMBER_BITS, pa.int32())))
