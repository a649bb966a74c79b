"""Session ids."""

from __future__ import annotations

import pyspark.sql.functions as F
from pyspark.sql import Column

ID_LENGTH = 32
"""Hex digits of a session id: 128 bits, so two ids among 10^12 meet with a chance below 10^-14."""


def session_id(user_id: Column, first_us: Column, first_event_id: Column) -> Column:
    """The same wherever, whenever and on however many partitions it is computed."""
    return F.substring(F.sha2(F.concat_ws("|", user_id, first_us.cast("string"), first_event_id), 256), 1, ID_LENGTH)
