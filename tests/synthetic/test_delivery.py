"""Delivery: late, repeated and broken lines in the stated shares; every true event arrives valid."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from purchasepath.config import Simulate
from purchasepath.synthetic import delivery
from purchasepath.synthetic.paths import PathModel
from purchasepath.synthetic.population import draw_journeys
from purchasepath.tables.catalog import EVENT_TYPES

SHOP = Simulate(users=300, days=14, items=100, bot_share=0.0, seed=2, late_share=0.05, duplicate_share=0.04,
                malformed_share=0.03)


@pytest.fixture(scope="module")
def events(spark: SparkSession) -> DataFrame:
    return delivery.add_arrival(delivery.list_events(draw_journeys(spark, SHOP, PathModel())), SHOP)


@pytest.fixture(scope="module")
def lines(events: DataFrame) -> dict[str, list[str]]:
    """Lines by kind."""
    found: dict[str, list[str]] = {delivery.ORIGINAL: [], delivery.REPEATED: [], delivery.BROKEN: []}
    for row in delivery.deliver(events, SHOP).collect():
        found[row.kind].append(row.line)
    return found


def delay(line: str) -> timedelta:
    event = json.loads(line)
    return datetime.fromisoformat(event["received"]) - datetime.fromisoformat(event["ts"])


def test_every_event_arrives_once_as_an_original_with_valid_values(lines: dict[str, list[str]]) -> None:
    originals = [json.loads(line) for line in lines["original"]]
    assert len({event["id"] for event in originals}) == len(originals)
    for event in originals:
        assert set(event) <= set(delivery.RAW_KEYS)
        assert {"id", "ts", "received", "visitor", "type", "device", "channel"} <= set(event)
        assert event["type"] in EVENT_TYPES
        assert event.get("price", 1) > 0
        assert event["ts"][10] == "T"
        assert len(event["ts"]) == len("2024-01-03T10:15:30.123456Z")


def test_nothing_arrives_before_it_happened_and_the_stated_share_hours_later(lines: dict[str, list[str]]) -> None:
    delays = [delay(line) for line in lines["original"]]
    assert min(delays) > timedelta(0)
    late = [d for d in delays if d >= timedelta(hours=2)]
    assert len(late) / len(delays) == pytest.approx(SHOP.late_share, abs=0.012)
    assert max(late) <= timedelta(hours=72)
    assert all(d < timedelta(seconds=5) for d in delays if d < timedelta(hours=2))


def test_repeated_lines_have_the_id_and_content_of_an_original(lines: dict[str, list[str]]) -> None:
    assert len(lines["repeated"]) / len(lines["original"]) == pytest.approx(SHOP.duplicate_share, abs=0.012)
    originals = {json.loads(line)["id"]: line for line in lines["original"]}
    exact = 0
    for line in lines["repeated"]:
        original = originals[json.loads(line)["id"]]
        exact += line == original
        assert delay(line) >= delay(original)
        assert {**json.loads(line), "received": ""} == {**json.loads(original), "received": ""}
    assert 0.3 < exact / len(lines["repeated"]) < 0.7


def breakage(line: str) -> str:
    try:
        event: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError:
        return "truncated"
    if event["type"] not in EVENT_TYPES:
        return "unknown type"
    if event.get("price", 0) < 0:
        return "negative price"
    if "visitor" not in event:
        return "no visitor"
    with pytest.raises(ValueError):
        datetime.fromisoformat(event["ts"])
    return "unparseable time"


def test_broken_lines_are_additional_and_broken_in_every_way(lines: dict[str, list[str]]) -> None:
    assert len(lines["broken"]) / len(lines["original"]) == pytest.approx(SHOP.malformed_share, abs=0.012)
    assert set(Counter(map(breakage, lines["broken"]))) == set(delivery.BREAKAGES)
    assert all("-broken" in line for line in lines["broken"])


def test_login_is_on_every_event_from_some_event_on(events: DataFrame) -> None:
    rows = events.select("visitor", "login", "id").orderBy("visitor", "id").collect()
    logged_in: set[str] = set()
    for row in rows:
        if row.login:
            logged_in.add(row.visitor)
        assert bool(row.login) == (row.visitor in logged_in)
    assert 0.2 < len(logged_in) / SHOP.users < 0.4
