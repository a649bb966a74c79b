"""Deliveries of events in any order, and EVENTS and EVENT_CHANGES as ingest would keep them, by a plain loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from random import Random
from typing import Any

from pyspark.sql import SparkSession

from purchasepath.storage.warehouse import Warehouse
from purchasepath.tables.catalog import EVENT_CHANGES, EVENTS
from tests.sessions.oracle import T0

Delivery = dict[str, Any]
DAY_US = 86_400_000_000


class Log:
    """What has arrived so far: of each event id the delivery that arrived first, ties by content."""

    def __init__(self, spark: SparkSession, warehouse: Warehouse) -> None:
        self.spark = spark
        self.warehouse = warehouse
        self.events: dict[str, Delivery] = {}
        self.runs = 0

    def ingest(self, deliveries: Sequence[Delivery]) -> None:
        before = dict(self.events)
        for new in deliveries:
            old = self.events.get(new["event_id"])
            if old is None or _rank(new) < _rank(old):
                self.events[new["event_id"]] = new
        self.runs += 1
        with self.warehouse.transaction(f"ingest-{self.runs}") as tx:
            tx.write(EVENTS, EVENTS.frame(self.spark, self.events.values()))
            changes = self._changes(before) if self.runs > 1 else []
            tx.write(EVENT_CHANGES, EVENT_CHANGES.frame(self.spark, changes), append=True)

    def _changes(self, before: dict[str, Delivery]) -> list[dict[str, Any]]:
        kept = [name for name in EVENT_CHANGES.names if name in EVENTS.names]
        differing = [key for key in self.events if self.events[key] != before.get(key)]
        return [{**{name: event[name] for name in kept}, "change": change, "ingest_run": f"ingest-{self.runs}"}
                for change, rows in (("removed", before), ("added", self.events))
                for key in differing if (event := rows.get(key))]


def _rank(delivery: Delivery) -> tuple[Any, ...]:
    return (delivery["arrived_at"], *map(repr, delivery.values()))


# pauses around the gap of 30 minutes and the caps; delays around the horizon of 3 days
PAUSES_US = (0, 0, 1, 600_000_000, 1_200_000_000, 1_799_999_999, 1_800_000_000, 1_800_000_001, 3_600_000_000,
             40_000_000_000)
DELAYS_US = (0, 0, 0, 0, 1, DAY_US, 3 * DAY_US, 3 * DAY_US + 1)


def arrivals(seed: int, *, num_users: int, num_runs: int) -> list[list[Delivery]]:
    """Deliveries of some visitors' events, dealt to runs of ingest at random.

    Many visitors in few runs, drawn from a seed: a run costs seconds whatever it brings, so that shrinking would
    take hours, and a first try with the simplest values would be a wasted one.
    """
    rng = Random(seed)
    deliveries = [one for user in range(num_users) for one in _timeline(rng, f"u{user}")]
    deliveries += [_again(rng, one) for one in rng.sample(deliveries, len(deliveries) // 5)]
    rng.shuffle(deliveries)
    runs: list[list[Delivery]] = [[] for _ in range(num_runs)]
    for one in deliveries:
        rng.choice(runs).append(one)
    return runs


def _timeline(rng: Random, user: str) -> Iterator[Delivery]:
    at = T0 + timedelta(hours=rng.choice([21, 23]))
    for number in range(rng.randint(1, 14)):
        at += timedelta(microseconds=rng.choice(PAUSES_US))
        yield delivery(f"e{rng.randint(0, 9)}-{user}-{number}", at, user=user, delay_us=rng.choice(DELAYS_US),
                       campaign=rng.choice([None, None, "a", "b"]), tie_order=rng.choice([None, 0, 1]))


def _again(rng: Random, first: Delivery) -> Delivery:
    """Another delivery of the same event id, perhaps at another time or of another visitor."""
    moved = first["event_ts"] + timedelta(microseconds=rng.choice([0, 0, 1_200_000_000]))
    return delivery(first["event_id"], moved, user=rng.choice([first["user_id"], "u0"]),
                    delay_us=rng.choice(DELAYS_US), campaign=first["campaign"], price=rng.choice([1.0, 2.0]),
                    tie_order=rng.choice([first["tie_order"], 2]))


def delivery(event_id: str, at: Any, *, user: str = "u", delay_us: int = 0, **values: Any) -> Delivery:
    return {"event_id": event_id, "user_id": user, "event_ts": at, "event_date": at.date(), "event_type": "view",
            "arrived_at": at + timedelta(microseconds=delay_us), "item_id": None, "price": None, "quantity": 1,
            "promotion": False, "campaign": None, "tie_order": None, **values}
