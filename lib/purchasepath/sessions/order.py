"""The order of events that come out of SESSIONS' arrays again."""

from __future__ import annotations

import pyspark.sql.functions as F
from pyspark.sql import Column


def order_in_instant(start_us: Column, position: Column) -> Column:
    """Orders a visitor's events of one time, of exploded SESSIONS: by session, and within it as in the arrays.

    Several sessions share an instant where a cap or a campaign cut there.
    """
    return F.struct(start_us.alias("start_us"), "first_tie_order", "session_id", position.alias("position"))
