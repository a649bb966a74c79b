"""Session ids: hashes of the visitor and of the first event's time and id, the same wherever they are computed."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

import pyspark.sql.functions as F
from pyspark.sql import Column

ID_LENGTH = 32
"""Hex digits of a session id: 128 bits, so two ids among 10^12 meet with a chance below 10^-14."""


def session_ids(firsts: Iterable[tuple[str, int, str]]) -> list[str]:
    """Ids of the sessions with these (user_id, microseconds of the first event, id of the first event)."""
    return [sha256(f"{user}|{us}|{event}".encode()).hexdigest()[:ID_LENGTH] for user, us, event in firsts]


def session_id(user_id: Column, first_us: Column, first_event_id: Column) -> Column:
    """`session_ids` as a column."""
    return F.substring(F.sha2(F.concat_ws("|", user_id, first_us.cast("string"), first_event_id), 256), 1, ID_LENGTH)
