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
from purchasepath.scoring.publish import Stamp, answers_of, drift_since_last, publish
from purchasepath.scoring.udf import SCORED
from purchasepath.storage import open_warehouse
from purchasepath.tables.catalog import RECOMMENDATIONS, SCORES

STAMP = Stamp("tiny", "v1", {"purchase": 168.0, "value": 24.0}, datetime(2024, 2, 12, tzinfo=UTC), "run-1")
NEXT_WEEK = replace(STAMP, as_of=datetime(2024, 2, 19, tzinfo=UTC), run_id="run-2")


def row(user: str, probability: float = 0.25, items: str = "ab", value: float = 3.0, **changes: Any) -> tuple[Any, ...]:
    shown = [(n, item, 1.0 / n) for n, item in enumerate(items, 1)]
    plain = {"user_id": user, "answers": [probability, value], "num_events": 3, "recommendations": shown}
    return tuple({**plain, **changes}.values())


@pytest.fixture
def scored(spark: Any) -> Callable[..., Any]:
    return lambda *rows: spark.createDataFrame(list(rows), SCORED.replace(" NOT NULL", ""))


@pytest.fixture
def warehouse(spark: Any, tmp_path: Path) -> Any:
    return open_warehouse(spark, load_config([], [f"paths.warehouse={tmp_path / 'warehouse'}"]))


def stored(warehouse: Any) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    purchases = warehouse.read(SCORES).where("task = 'purchase' and entity = 'visitor' and horizon_hours = 168")
    scores = purchases.select("as_of_date", "entity_id", "value", "run_id").collect()
    items = warehouse.read(RECOMMENDATIONS).select("as_of_date", "user_id", "rank", "item_id").collect()
    return sorted(map(tuple, scores)), sorted(map(tuple, items))


def test_a_publication_replaces_its_own_partition_and_no_other(
    warehouse: Any, scored: Callable[..., Any], monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("purchasepath.scoring.drift.JUDGED_USERS", 2)
    first = publish(warehouse, scored(row("u"), row("v", items="")), STAMP, users=2, max_drift=0.5)
    assert (first.rows, first.users_without, first.items_shown, first.drifts, first.item_change) == (
        {"scores": 4, "recommendations": 2}, 1, 2, [], None)

    moved = scored(row("u", 0.01, items="ba"), row("v", 0.01, items="b"))
    with pytest.raises(PublishError, match=r"=0.5 allows; nothing was published\n  purchase: .* of 2024-02-12"):
        publish(warehouse, moved, NEXT_WEEK, users=2, max_drift=0.5)
    this, following = STAMP.as_of.date(), NEXT_WEEK.as_of.date()
    scores = [(this, "u", 0.25, "run-1"), (this, "v", 0.25, "run-1")]
    items = [(this, "u", 1, "a"), (this, "u", 2, "b")]
    assert stored(warehouse) == (scores, items)

    for drifted, changed in ((True, 1), (False, 0)):  # let through, then the same again
        passed = publish(warehouse, moved, NEXT_WEEK, users=2, max_drift=0)
        assert [(drift.task, drift.psi > 0.5) for drift in passed.drifts] == [("purchase", drifted), ("value", False)]
        assert passed.item_change is not None
        assert (passed.item_change.users, passed.item_change.changed) == (1 if drifted else 2, changed)
        assert stored(warehouse) == (
            [*scores, (following, "u", pytest.approx(0.01), "run-2"), (following, "v", pytest.approx(0.01), "run-2")],
            [*items, (following, "u", 1, "b"), (following, "u", 2, "a"), (following, "v", 1, "b")],
        )

    other_horizons = replace(NEXT_WEEK, horizon_hours={"purchase": 24.0, "value": 168.0})
    for not_comparable in (other_horizons, replace(NEXT_WEEK, model_name="other"),
                           replace(NEXT_WEEK, as_of=datetime(2025, 2, 12, tzinfo=UTC))):
        assert drift_since_last(warehouse, answers_of(moved, not_comparable), not_comparable) == []


def test_what_a_model_of_the_same_name_no_longer_answers_goes_away(warehouse: Any, scored: Callable[..., Any]) -> None:
    publish(warehouse, scored(row("u")), STAMP, users=1, max_drift=0)
    assert {r.task for r in warehouse.read(SCORES).collect()} == {"purchase", "value"}
    retrained = replace(STAMP, horizon_hours={"purchase": 168.0}, model_version="v2", run_id="run-2")
    publish(warehouse, scored(row("u", answers=[0.5])), retrained, users=1, max_drift=0)
    assert [(r.task, r.value, r.model_version) for r in warehouse.read(SCORES).collect()] == [("purchase", 0.5, "v2")]


@pytest.mark.parametrize(("bad", "told"), [
    (row("v", 1.5), "1 answers to purchase that are missing or not within 0 and 1"),
    (row("v", float("nan")), "1 answers to purchase that are missing or not within 0 and 1"),
    (row("v", value=-0.5), "1 answers to value that are missing or not a number of at least 0"),
    (row("v", value=float("inf")), "1 answers to value that are missing or not a number of at least 0"),
    (row("v", answers=[0.5]), "1 answers to value that are missing"),
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
