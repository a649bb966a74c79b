"""The score job on a shop of three visitors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.score import run
from purchasepath.errors import BundleMismatchError, PublishError
from purchasepath.tables.catalog import RECOMMENDATIONS, SCORES, SESSIONS
from purchasepath.tables.features import USER_FEATURES
from tests.tiny_bundle import MODEL, tiny_bundle, tiny_manifest
from tests.tiny_shop import AS_OF, FEATURES, TinyShop, tiny_shop


@pytest.fixture(scope="module")
def shop(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> TinyShop:
    return tiny_shop(spark, tmp_path_factory.mktemp("shop"))


def rows(job: Any, table: Any) -> list[dict[str, Any]]:
    found = [row.asDict() for row in job.warehouse.read(table).collect()]
    for row in found:
        del row["run_id"]  # the one column that tells two runs apart
    return sorted(found, key=lambda r: (r.get("user_id") or r["entity_id"], r.get("rank", 0), r.get("task", "")))


def test_everybody_known_is_scored_and_a_rerun_gives_the_same_rows(shop: TinyShop) -> None:
    job = shop.job("score", "score.top_k=3", "score.exclude=purchased")
    summary = run(job)
    assert summary.rows == {"scores": 2, "recommendations": 6}  # eve's event had not arrived
    assert summary.events == 7
    scores, items = rows(job, SCORES), rows(job, RECOMMENDATIONS)
    assert [(r["entity_id"], r["num_events"], r["model_version"]) for r in scores] == [
        ("ada", 4, shop.bundle.version), ("ben", 3, shop.bundle.version)]
    assert {(r["as_of_date"], r["model_name"], r["horizon_hours"]) for r in scores} == {(AS_OF.date(), "tiny", 168.0)}
    assert [r["rank"] for r in items] == [1, 2, 3] * 2
    assert "A" not in {r["item_id"] for r in items if r["user_id"] == "ada"}  # she bought it

    again = shop.job("score", "score.top_k=3", "score.exclude=purchased")
    second = run(again)
    scored_again, items_again = rows(again, SCORES), rows(again, RECOMMENDATIONS)
    assert min(r.pop("run_number") for r in [*scored_again, *items_again]) > max(
        r.pop("run_number") for r in [*scores, *items])
    assert (scored_again, items_again) == (scores, items)
    assert any("purchase drifted since" in line and "stability index 0.000" in line for line in second.lines)
    assert any("for 0.0% of 2 users" in line for line in second.lines)


def test_a_bundle_with_other_features_or_another_vocabulary_is_refused(shop: TinyShop, tmp_path: Path) -> None:
    other_features = tiny_bundle(tmp_path / "a", manifest=tiny_manifest(
        feature_names=FEATURES, feature_schema_sha="0" * 64))
    other_vocabulary = tiny_bundle(tmp_path / "b", manifest=tiny_manifest(feature_names=FEATURES), fits=False)
    other_events = tiny_bundle(tmp_path / "c", manifest=tiny_manifest(feature_names=FEATURES, num_types=4))
    for bundle, told in ((other_features, "feature schema"), (other_vocabulary, "vocabulary"),
                         (other_events, "3 event types")):
        with pytest.raises(BundleMismatchError, match=told):
            run(shop.job("score", f"score.bundle={bundle.directory}"))


@pytest.mark.parametrize(("tasks", "rows_of", "told"), [
    (("item", "next_type"), {"scores": 0, "recommendations": 6},
     "not trained to answer purchase or churn or value or orders or returns: no scores from it"),
    (("purchase", "value", "orders"), {"scores": 6, "recommendations": 0},
     "not trained to answer item: no recommendations from it"),
])
def test_nothing_is_published_of_a_question_that_the_bundle_was_not_trained_to_answer(
    shop: TinyShop, tmp_path: Path, tasks: tuple[str, ...], rows_of: dict[str, int], told: str
) -> None:
    bundle = tiny_bundle(tmp_path, manifest=shop.bundle.manifest, model=MODEL.model_copy(update={"tasks": tasks}),
                         fits=False)
    job = shop.job("score", "score.top_k=3", f"score.bundle={bundle.directory}", f"paths.warehouse={tmp_path / 'w'}")
    with job.warehouse.transaction("setup") as tx:
        for table in (SESSIONS, USER_FEATURES):
            tx.write(table, shop.job("score").warehouse.read(table))
    summary = run(job)
    assert summary.rows == rows_of
    assert {table.name: len(rows(job, table)) for table in (SCORES, RECOMMENDATIONS)} == rows_of
    assert any(told in line for line in summary.lines)


def test_a_bundle_that_answers_neither_is_refused(shop: TinyShop, tmp_path: Path) -> None:
    model = MODEL.model_copy(update={"tasks": ("session",)})
    bundle = tiny_bundle(tmp_path, manifest=shop.bundle.manifest, model=model, fits=False)
    with pytest.raises(BundleMismatchError, match="answers session, expected item or purchase"):
        run(shop.job("score", f"score.bundle={bundle.directory}"))


def test_a_failed_publication_keeps_the_published_scores(shop: TinyShop, monkeypatch: pytest.MonkeyPatch) -> None:
    before = shop.job("score")
    if not before.warehouse.exists(SCORES):
        run(before)
    kept = rows(before, SCORES)
    monkeypatch.setattr("jobs.score.count_users", lambda sessions, as_of: (99, 99))
    with pytest.raises(PublishError, match="99 users were to be scored; 2 rows of 2 users came out"):
        run(shop.job("score"))
    assert rows(shop.job("score"), SCORES) == kept
