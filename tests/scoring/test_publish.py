"""Publishing: what is staged is audited, and only what passes replaces its own partition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from purchasepath.config import load_config
from purchasepath.errors import PublishError
from purchasepath.scoring.publish import Stamp, publish
from purchasepath.scoring.udf import SCORED
from purchasepath.storage import open_warehouse
from purchasepath.tables.catalog import RECOMMENDATIONS, SCORES

STAMP = Stamp("tiny", "v1", 168.0, datetime(2024, 2, 12, tzinfo=UTC), "run-1")
NEXT_WEEK = replace(STAMP, as_of=datetime(2024, 2, 19, tzinfo=UTC), run_id="run-2")


def row(user: str, probability: float = 0.25, items: str = "ab", **changes: Any) -> tuple[Any, ...]:
    shown = [(n, item, 1.0 / n) for n, item in enumerate(items, 1)]
    plain = {"user_id": user, "purchase_probability": probability, "num_events": 3, "recommendations": shown}
    return tuple({**plain, **changes}.values())


@pytest.fixture
def scored(spark: Any) -> Callable[..., Any]:
    return lambda *rows: spark.createDataFrame(list(rows), SCORED.replace(" NOT NULL", ""))


@pytest.fixture
def warehouse(spark: Any, tmp_path: Path) -> Any:
    return open_warehouse(spark, load_config([], [f"paths.warehouse={tmp_path / 'warehouse'}"]))


def stored(warehouse: Any) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    scores = warehouse.read(SCORES).select("as_of_date", "user_id", "purchase_probability", "run_id").collect()
    items = warehouse.read(RECOMMENDATIONS).select("as_of_date", "user_id", "rank", "item_id").collect()
    return sorted(map(tuple, scores)), sorted(map(tuple, items))


def test_a_publication_replaces_its_own_partition_and_no_other(warehouse: Any, scored: Callable[..., Any]) -> None:
    first = publish(warehouse, scored(row("u"), row("v", items="")), STAMP, users=2, max_drift=1.0)
    assert (first.rows, first.users_without, first.items_shown, first.drift) == (
        {"scores": 2, "recommendations": 2}, 1, 2, None)
    publish(warehouse, scored(row("u", 0.5)), NEXT_WEEK, users=1, max_drift=1.0)
    before = stored(warehouse)
    again = publish(warehouse, scored(row("u", 0.5)), NEXT_WEEK, users=1, max_drift=1.0)
    assert stored(warehouse) == before
    assert again.drift is not None
    assert (again.drift.psi, again.drift.changed_top) == (0, 0)
    this, following = STAMP.as_of.date(), NEXT_WEEK.as_of.date()
    assert before == (
        [(this, "u", 0.25, "run-1"), (this, "v", 0.25, "run-1"), (following, "u", 0.5, "run-2")],
        [(this, "u", 1, "a"), (this, "u", 2, "b"), (following, "u", 1, "a"), (following, "u", 2, "b")],
    )


@pytest.mark.parametrize(("bad", "told"), [
    (row("v", 1.5), "1 purchase probabilities that are missing or not within 0 and 1"),
    (row("v", float("nan")), "1 purchase probabilities that are missing or not within 0 and 1"),
    (row("v", items="aa"), "1 lists with an item missing or shown twice"),
    (row("v", recommendations=[(1, "a", 1.0), (3, "b", 0.5)]), "1 lists whose ranks are not 1, 2, 3"),
    (row("v", recommendations=[(1, "a", float("nan"))]), "1 lists with a score that is not a number"),
    (row("u"), "2 users were to be scored; 2 rows of 1 users came out"),
])
def test_a_failed_audit_publishes_nothing(
    warehouse: Any, scored: Callable[..., Any], bad: tuple[Any, ...], told: str,
) -> None:
    with pytest.raises(PublishError, match=told):
        publish(warehouse, scored(row("u"), bad), STAMP, users=2, max_drift=1.0)
    assert not warehouse.exists(SCORES)


def test_drift_above_the_limit_publishes_nothing_and_zero_lets_it_pass(
    spark: Any, warehouse: Any, scored: Callable[..., Any],
) -> None:
    def thousand(probability: float) -> Any:
        return scored(*[row(f"user-{n}", probability + n / 1e5) for n in range(1_000)])

    publish(warehouse, thousand(0.1), STAMP, users=1_000, max_drift=1.0)
    with pytest.raises(PublishError, match=r"against the scores of 2024-02-12.*max_drift allows 1;"):
        publish(warehouse, thousand(0.8), NEXT_WEEK, users=1_000, max_drift=1.0)
    assert {r["run_id"] for r in warehouse.read(SCORES).select("run_id").distinct().collect()} == {"run-1"}
    other = replace(NEXT_WEEK, horizon_hours=24.0)
    assert publish(warehouse, thousand(0.8), other, users=1_000, max_drift=1.0).drift is None  # not comparable
    passed = publish(warehouse, thousand(0.1), replace(other, horizon_hours=168.0), users=1_000, max_drift=0)
    assert passed.drift is not None
    assert passed.drift.since == STAMP.as_of.date()
