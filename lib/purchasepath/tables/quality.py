"""Row rules: every rule is evaluated once, and a row carries the reasons of all the rules it breaks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyspark.sql.functions as F
from pyspark.sql import Column

_SEPARATOR = "\x1f"  # no reason holds it


@dataclass(frozen=True)
class Rule:
    """What a row must not be: `reason` is recorded where `broken` is true (null counts as not broken)."""

    reason: str
    broken: Column


def broken_rules(rules: Iterable[Rule]) -> Column:
    """Reasons of all rules a row breaks, in the order of the rules: [] for a good row, never null.

    | rules                                             | row        | reasons               |
    |---------------------------------------------------|------------|-----------------------|
    | ("no price", price is null), ("no user", user …)  | (3.5, "u") | []                    |
    |                                                   | (null, "") | ["no price", "no user"] |
    """
    found = [F.when(rule.broken, F.lit(rule.reason)) for rule in rules]
    # `concat_ws` leaves nulls out and is compiled; `array_compact` is interpreted row by row
    joined = F.concat_ws(_SEPARATOR, *found)
    return F.when(joined == "", no_reasons()).otherwise(F.split(joined, _SEPARATOR)) if found else no_reasons()


def no_reasons() -> Column:
    """The reasons of a good row."""
    return F.array().cast("array<string>")


def first_broken(*stages: Column) -> Column:
    """Reasons of the first stage that has any: a row that cannot be read is not judged by its contents."""
    answer = stages[-1]
    for stage in reversed(stages[:-1]):
        answer = F.when(F.size(stage) > 0, stage).otherwise(answer)
    return answer
