"""Labels against loops over the events themselves: whole horizons, of everything on record."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import pairwise
from operator import itemgetter
from typing import Any

import pytest
from pyspark.sql import SparkSession

from purchasepath.config import Dataset
from purchasepath.datasets.split import split_by_time
from purchasepath.errors import ConfigError
from purchasepath.features.as_of import as_of_times
from purchasepath.features.labels import add_labels, check_horizons, summarize_labels
from purchasepath.tables.catalog import SESSIONS
from purchasepath.tables.tasks import LABEL_NAMES
from purchasepath.times import to_us
from tests.datasets.shop import HOUR_US, at, partials_of

TYPES = ("view", "cart", "purchase", "purchase", "return")
Visit = list[tuple[float, str, float | None, int | None]]
"""hour, type, price and quantity of each event"""


def random_visits(seed: int) -> dict[str, list[Visit]]:
    chance = random.Random(seed)
    return {f"u{n}": [sorted((
        (start + chance.choice([0.0, 0.0, 0.25, 1.5]), chance.choice(TYPES), chance.choice([None, 2.5, 30.0]),
         chance.choice([None, 1, 3])) for _ in range(chance.randrange(1, 5))), key=itemgetter(0)
    ) for start in sorted(chance.uniform(0, 230) for _ in range(chance.randrange(1, 6)))] for n in range(25)}


def sessions_of(spark: SparkSession, visits: dict[str, list[Visit]]) -> Any:
    rows = []
    for user, own in visits.items():
        for number, visit in enumerate(own):
            begin = at(visit[0][0])
            rows.append({
                "session_id": f"{user}-{number}", "user_id": user, "started_at": begin, "ended_at": at(visit[-1][0]),
                "is_bot": False, "num_events": len(visit),
                "event_ids": [f"{user}-{number}-{n}" for n in range(len(visit))],
                "event_types": [event[1] for event in visit], "prices": [event[2] for event in visit],
                "quantities": [event[3] for event in visit],
                "offsets_us": [(at(event[0]) - begin) // timedelta(microseconds=1) for event in visit],
                "arrival_lags_us": [HOUR_US * 400] * len(visit),  # long after everything: a label is truth, not input
                "session_date": begin.date(),
            })
    return SESSIONS.frame(spark, rows)


def oracle(own: list[Visit], hour: float, horizons: dict[str, float]) -> dict[str, float]:
    def ahead(task: str) -> Visit:
        return [event for visit in own for event in visit if hour <= event[0] < hour + horizons[task]]

    return {
        "purchase": float(any(kind == "purchase" for _, kind, _, _ in ahead("purchase"))),
        "churn": float(not ahead("churn")),
        "value": sum((price or 0) * (quantity or 0) for _, kind, price, quantity in ahead("value")
                     if kind == "purchase"),
        "orders": sum(event[1] == "purchase" and before[:2] != event[:2]
                      and hour <= event[0] < hour + horizons["orders"]
                      for visit in own for before, event in pairwise([(-1.0, "", None, None), *visit])),
        "returns": float(any(kind == "return" for _, kind, _, _ in ahead("returns"))),
    }


@pytest.mark.parametrize("seed", [1, 2])
def test_labels_are_those_of_a_loop_over_events_whatever_the_horizon(spark: SparkSession, seed: int) -> None:
    horizons = {"purchase": 24.0, "churn": 48.0, "value": 72.0, "orders": 48.0, "returns": 120.0}
    visits, times = random_visits(seed), as_of_times(at(0), at(239), 24)
    labels = summarize_labels(partials_of(sessions_of(spark, visits)), times,
                              {task: round(hours * HOUR_US) for task, hours in horizons.items()})
    points = spark.createDataFrame([(user, to_us(time)) for user in [*visits, "nobody"] for time in times],
                                   "user_id string, at_us bigint")
    rows = add_labels(points, labels).collect()
    assert len(rows) == len(times) * (len(visits) + 1)
    for row in rows:
        expected = oracle(visits.get(row["user_id"], []), (row["at_us"] - to_us(at(0))) / HOUR_US, horizons)
        assert {task: row[task] for task in LABEL_NAMES} == pytest.approx(expected), (row["user_id"], row["at_us"])
    assert {row["returns"] for row in rows} == {row["purchase"] for row in rows} == {0.0, 1.0}
    assert max(row["orders"] for row in rows) >= 3


def test_a_task_may_look_further_ahead_than_others_and_is_asked_where_its_horizon_stays_within_the_split() -> None:
    knobs = Dataset(horizon_hours=24, valid_hours=48, test_hours=48, horizons={"value": 48})
    split = split_by_time(at(0), at(240), knobs, every_hours=24, gap_minutes=30)
    assert split.horizons == {"purchase": 24, "churn": 24, "value": 48, "orders": 24, "returns": 24}


def test_a_horizon_that_ends_within_a_tile_is_refused() -> None:
    check_horizons({"purchase": 36, "value": 720}, every_hours=12)
    with pytest.raises(ConfigError, match=r"horizon_hours=36 of value is no multiple of 24 h"):
        check_horizons({"purchase": 24, "value": 36}, every_hours=48)
