"""The shop's own ids of visitors and accounts: in USER_KEYS, and nowhere else.

Event, order and session ids are often made of the visitor's (`anna-000017`), and people search for themselves. There
the row's own id gives way to its pseudonym, as a whole word. An item, a category or a brand is left as it is: there a
number that equals the visitor's is chance, unless it is so in many rows, and `check_raw_ids` refuses those.
"""

from __future__ import annotations

from functools import reduce

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame

from purchasepath.errors import InputError
from purchasepath.sources.mapping import OWN_PREFIX
from purchasepath.sources.raw import RAW
from purchasepath.tables.catalog import EVENTS

IDS = ("user_id", "login_id")
_MADE_OF_IDS = ("event_id", "order_id", "source_session")
_SPOKEN = ("query", "campaign", "channel", "device")
_ROWS = f"{OWN_PREFIX}rows"
_CHECKED = tuple(c.name for c in EVENTS.columns if c.type == "string" and c.name not in (*IDS, "event_type"))
LEAST_LENGTH = 6
"""Shorter ids cannot be told from other numbers and words where a text was not made of ids."""
_MOST = 0.01


def hide_raw_ids(rows: DataFrame) -> DataFrame:
    """`rows` (pseudonyms in IDS, the shop's ids in raw_<id>) with pseudonyms for the row's own ids in other columns."""
    made = {name: _hidden(F.col(name), visitors=1, accounts=LEAST_LENGTH) for name in _MADE_OF_IDS}
    spoken = {name: _hidden(F.col(name), visitors=LEAST_LENGTH, accounts=LEAST_LENGTH) for name in _SPOKEN}
    return rows.withColumns(made | spoken)


def hide_in_text(judged: DataFrame) -> DataFrame:
    """The texts of raw rows that are kept, with pseudonyms for the ids that were read from them."""
    return judged.withColumn(RAW, _hidden(F.col(RAW), visitors=1, accounts=1))


def check_raw_ids(accepted: DataFrame) -> None:
    """Raise InputError where a column holds the visitor's or account's own id in more than one of a hundred events."""
    held = {name: reduce(Column.__or__, [_holds(F.col(name), F.col(f"raw_{of}")) for of in IDS]) for name in _CHECKED}
    counts = accepted.agg(F.count("*").alias(_ROWS), *[F.count_if(holds).alias(name) for name, holds in held.items()])
    found = counts.collect()[0].asDict()
    rows = found.pop(_ROWS)
    told = [f"{name} ({count:,} of {rows:,} events)" for name, count in found.items() if count > _MOST * rows]
    if told:
        raise InputError("columns hold the visitor's or the account's own id, which only user_keys may: "
                         f"{', '.join(told)}; leave them out of the mapping, or cut the id out there (`sql:`). "
                         "Nothing was written")


def _holds(text: Column, raw: Column) -> Column:
    told = text.contains(raw) & (F.length(raw) >= LEAST_LENGTH) & F.regexp_like(text, _as_a_word(raw))
    return F.coalesce(told, F.lit(False))


def _hidden(text: Column, *, visitors: int, accounts: int) -> Column:
    """`text` without the row's own ids of at least these lengths. Some rows of a session or an order name the account,
    some do not: a short account's number that is in their id by chance would make two of them."""
    for name, least in zip(IDS, (visitors, accounts), strict=True):
        raw = F.col(f"raw_{name}")
        own = text.contains(raw) & (F.length(raw) >= least)  # cheap: a pattern is made where it is worth while
        by_chance = (text == raw) & (F.length(raw) < LEAST_LENGTH)  # both may be numbered from 1
        text = F.when(own & ~by_chance, F.regexp_replace(text, _as_a_word(raw), F.col(name))).otherwise(text)
    return text


def _as_a_word(raw: Column) -> Column:
    """A pattern for `raw` where no letter or digit is beside it."""
    literal = F.replace(raw, F.lit(r"\E"), F.lit(r"\E\\E\Q"))
    return F.concat(F.lit(r"(?<![\p{L}\p{N}])\Q"), literal, F.lit(r"\E(?![\p{L}\p{N}])"))
