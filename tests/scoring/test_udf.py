"""Scoring: the UDF against a direct call, batches against their bounds, the plan against scoring twice."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from purchasepath.bundle.bundle import Bundle
from purchasepath.config import Score
from purchasepath.datasets.batch import inputs_from_arrow
from purchasepath.errors import BundleMismatchError
from purchasepath.scoring.batches import rechunk, with_blank_histories
from purchasepath.scoring.shipment import ship
from purchasepath.scoring.udf import Scorer, score_users
from tests.tiny_bundle import EXAMPLE_SCHEMA, example, tiny_bundle, tiny_manifest

SCHEMA = pa.schema([
    ("user_id", pa.string()), ("num_events", pa.int32()), *EXAMPLE_SCHEMA,
    ("seen_items", pa.list_(pa.int32())), ("purchased_items", pa.list_(pa.int32())),
])
SPARK_SCHEMA = (
    "user_id string, num_events int, item array<int>, type array<int>, gap array<float>, price array<float>, "
    "target array<int>, outcome array<int>, point array<int>, idle array<float>, features array<float>, "
    "labels array<float>, seen_items array<int>, purchased_items array<int>"
)


def user(name: str, items: list[int], purchased: tuple[int, ...] = ()) -> dict[str, Any]:
    row = example(items, points={len(items) - 1: 0})
    return {**row, "user_id": name, "num_events": len(items), "seen_items": sorted(set(items)),
            "purchased_items": list(purchased)}


USERS = [user(f"user-{n:02d}", [3 + (n * 7 + i) % 5 for i in range(1 + n % 9)], purchased=(3 + n % 5,))
         for n in range(40)]


def arrow(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, SCHEMA)


def by_user(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["user_id"]: row for row in rows}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def frame(spark: Any) -> Any:
    return spark.createDataFrame([tuple(u[n] for n in SCHEMA.names) for u in USERS], SPARK_SCHEMA).repartition(3)


def test_udf_equals_a_direct_call(frame: Any, bundle: Bundle) -> None:
    config = Score(top_k=3, batch_rows=7, item_block=4)
    found = by_user([row.asDict(recursive=True) for row in score_users(frame, bundle, config).collect()])
    expected = by_user(Scorer(bundle, bundle.build(), config).score(arrow(USERS)).to_pylist())
    assert found.keys() == expected.keys()
    for name, row in expected.items():
        assert found[name]["num_events"] == row["num_events"]
        assert found[name]["answers"] == pytest.approx(row["answers"], abs=1e-6)
        assert [r["item_id"] for r in found[name]["recommendations"]] == [r["item_id"] for r in row["recommendations"]]
        assert [r["rank"] for r in found[name]["recommendations"]] == [1, 2, 3]
        np.testing.assert_allclose([r["score"] for r in found[name]["recommendations"]],
                                   [r["score"] for r in row["recommendations"]], atol=1e-5)


def test_a_rerun_gives_the_same_bits_however_the_input_is_partitioned(frame: Any, bundle: Bundle) -> None:
    config = Score(top_k=4, batch_rows=5)
    first = sorted(map(str, score_users(frame, bundle, config).collect()))
    again = sorted(map(str, score_users(frame.coalesce(1), bundle, config).collect()))
    assert first == again


def test_a_scored_frame_has_exactly_one_scoring_node(frame: Any, bundle: Bundle, tmp_path: Path) -> None:
    scored = score_users(frame, bundle, Score(top_k=2))
    assert scored._jdf.queryExecution().executedPlan().toString().count("MapInArrow") == 1


def test_scores_are_those_of_the_model_itself(bundle: Bundle) -> None:
    rows = arrow(USERS[:6])
    model = bundle.build()
    with torch.inference_mode():
        batch = inputs_from_arrow(rows, 2)
        hidden_ND = model.encode_points(batch)[batch.row_P, batch.position_P]
        scores_NI = model.item_scores(hidden_ND)
    scored = Scorer(bundle, model, Score(top_k=1)).score(rows).to_pylist()
    for scores_I, row in zip(scores_NI, scored, strict=True):
        assert row["recommendations"][0]["item_id"] == "ABCDE"[int(scores_I.argmax()) - 3]


@pytest.mark.parametrize(("exclude", "column"), [("seen", "seen_items"), ("purchased", "purchased_items")])
def test_excluded_items_are_not_recommended(bundle: Bundle, exclude: str, column: str) -> None:
    scored = Scorer(bundle, bundle.build(), Score(top_k=5, exclude=exclude)).score(arrow(USERS)).to_pylist()
    for given_row, row in zip(USERS, scored, strict=True):
        shown = [r["item_id"] for r in row["recommendations"]]
        assert set(shown) == set("ABCDE") - {"ABCDE"[i - 3] for i in given_row[column]}
        assert [r["rank"] for r in row["recommendations"]] == list(range(1, len(shown) + 1))


def test_a_slice_scores_as_its_rows_do(bundle: Bundle) -> None:
    scorer = Scorer(bundle, bundle.build(), Score(top_k=2, exclude="seen"))
    whole = scorer.score(arrow(USERS))
    part = scorer.score(arrow(USERS).slice(9, 4))
    assert [r["recommendations"][0]["item_id"] for r in part.to_pylist() if r["recommendations"]] == \
        [r["recommendations"][0]["item_id"] for r in whole.to_pylist()[9:13] if r["recommendations"]]


def test_an_empty_history_is_scored_as_one_event_that_says_nothing(bundle: Bundle) -> None:
    blank = {**user("nobody", [1]), "type": [0], "gap": [0.0], "price": [0.0], "num_events": 0, "seen_items": [],
             "idle": [0.0]}
    empty = {**blank, "item": [], "type": [], "gap": [], "price": [], "point": [-1]}
    no_point = {**empty, "point": [], "idle": []}
    scorer = Scorer(bundle, bundle.build(), Score(top_k=2))
    rows = scorer.score(arrow([empty, USERS[3], blank, no_point])).to_pylist()
    for row in (rows[0], rows[3]):
        assert row["answers"] == pytest.approx(rows[2]["answers"], abs=1e-6)
        assert [r["item_id"] for r in row["recommendations"]] == [r["item_id"] for r in rows[2]["recommendations"]]
    alone = scorer.score(arrow([USERS[3]])).to_pylist()[0]
    assert rows[1]["answers"] == pytest.approx(alone["answers"], abs=1e-6)


def test_histories_with_events_are_left_as_they_are() -> None:
    rows = arrow(USERS)
    assert with_blank_histories(rows) is rows


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=40), st.lists(st.integers(0, 40), max_size=4),
       st.integers(1, 9), st.integers(1, 40))
def test_rechunked_rows_keep_their_order_and_bounds_wherever_batches_ended(
    lengths: list[int], cuts: list[int], max_rows: int, max_tokens: int,
) -> None:
    rows = pa.RecordBatch.from_pylist([{"n": n, "item": [3] * size} for n, size in enumerate(lengths)])
    edges = sorted({0, *(min(c, len(lengths)) for c in cuts), len(lengths)})
    parts = [rows.slice(a, b - a) for a, b in pairwise(edges)]
    chunks = [c.to_pylist() for c in rechunk(iter(parts), max_rows, max_tokens)]
    assert [r["n"] for c in chunks for r in c] == list(range(len(lengths)))
    for chunk in chunks:
        assert len(chunk) <= max_rows
        assert len(chunk) == 1 or len(chunk) * max(len(r["item"]) for r in chunk) <= max_tokens
    assert chunks == [c.to_pylist() for c in rechunk(iter([rows]), max_rows, max_tokens)]


def test_no_rows_need_no_model(bundle: Bundle) -> None:
    assert list(rechunk(iter([arrow(USERS).slice(0, 0)]), 4, 10)) == []


def test_a_bundle_that_is_not_visible_to_workers_travels_as_an_archive(spark: Any, frame: Any, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "a", seed=4)
    shipment = ship(spark, bundle, archive=True)
    bundle.directory.rename(tmp_path / "elsewhere")
    assert shipment.open().version == bundle.version


def test_a_bundle_retrained_in_place_is_refused(spark: Any, tmp_path: Path) -> None:
    first = tiny_bundle(tmp_path / "a", seed=1)
    second = tiny_bundle(tmp_path / "b", seed=2)
    shipment = ship(spark, first, archive=False)
    for file in second.directory.iterdir():
        (first.directory / file.name).write_bytes(file.read_bytes())
    with pytest.raises(BundleMismatchError, match=f"expected to be version {first.version} and is {second.version}"):
        shipment.open()


def test_more_items_than_letters(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path, manifest=tiny_manifest(num_items=60))
    row = Scorer(bundle, bundle.build(), Score(top_k=100)).score(arrow(USERS[:1])).to_pylist()[0]
    assert len(row["recommendations"]) == 57
