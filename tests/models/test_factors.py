"""Latent factors: a history's vector against the paper's formula written out, and against MLlib's own."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purchasepath.models.factors import (
    EVENT_WEIGHT,
    REGULARIZATION,
    Histories,
    LatentFactors,
    fit,
    histories_until,
    item_counts,
    item_factors,
)

ROWS = [[3, 4, 3, 1, 5], [4, 6, 6, 6, 2], [5, 3], [7, 4, 7], [1, 2]]


def examples(spark: Any, rows: list[list[int]]) -> Any:
    return spark.createDataFrame([(n + 2**40, row) for n, row in enumerate(rows)], "example_id bigint, item array<int>")


def solved_by_the_formula(factors_ID: np.ndarray, events: dict[int, int]) -> np.ndarray:
    """(Y' C Y + n r 1)^-1 Y' C p over the whole catalogue."""
    y_ID = factors_ID
    fitted = {item for item, row in enumerate(y_ID) if row.any()}
    c, p = np.ones(len(y_ID)), np.zeros(len(y_ID))
    for item, n in events.items():
        if item in fitted:
            c[item], p[item] = 1 + EVENT_WEIGHT * n, 1
    ridge = REGULARIZATION * max(1, p.sum()) * np.eye(y_ID.shape[1])
    return np.linalg.inv(y_ID.T @ np.diag(c) @ y_ID + ridge) @ y_ID.T @ np.diag(c) @ p


rows = st.lists(st.lists(st.tuples(st.integers(1, 8), st.booleans()), min_size=1, max_size=6), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(1, 5))
def test_a_history_ends_where_it_is_asked(made: list[list[tuple[int, bool]]], at_once: int) -> None:
    item_N = np.array([item for row in made for item, _ in row])
    asked_N = np.array([asked for row in made for _, asked in row])
    parts = list(histories_until(item_N, np.array([len(row) for row in made]), asked_N, at_once))
    assert all(len(part.item_HM) == at_once for part in parts[:-1])
    found = [
        {int(item): int(n) for item, n in zip(items, events, strict=True) if n}
        for part in parts for items, events in zip(part.item_HM, part.events_HM, strict=True)
    ]
    expected = [Counter(i for i, _ in row[: end + 1] if i > 2)
                for row in made for end, (_, asked) in enumerate(row) if asked]
    assert found == expected


@settings(max_examples=40, deadline=None)
@given(st.lists(st.dictionaries(st.integers(3, 9), st.integers(1, 4), max_size=5), min_size=1, max_size=5),
       st.integers(0, 99))
def test_a_history_is_solved_for_as_the_paper_has_it(events: list[dict[int, int]], seed: int) -> None:
    factors_ID = np.random.default_rng(seed).normal(size=(10, 4))
    factors_ID[[0, 1, 2, 6]] = 0.0  # special ids, and an item that was not fitted
    width = max(map(len, events))
    padded = Histories(
        np.array([[*e, *[0] * (width - len(e))] for e in events], dtype=int).reshape(len(events), width),
        np.array([[*e.values(), *[0] * (width - len(e))] for e in events], dtype=float).reshape(len(events), width),
    )
    factors = LatentFactors(factors_ID)
    expected_HD = np.array([solved_by_the_formula(factors_ID, e) for e in events])
    assert factors.solve(padded) == pytest.approx(expected_HD, abs=1e-9)
    for scores_I, x_D, e in zip(factors.scores(padded), expected_HD, events, strict=True):
        known = set(e) - {6}
        assert np.isneginf(scores_I[[0, 1, 2, 6]]).all()
        assert scores_I[[3, 4, 5, 7, 8, 9]] == pytest.approx(
            factors_ID[[3, 4, 5, 7, 8, 9]] @ x_D if known else np.full(6, -np.inf), abs=1e-9)


def test_the_fitted_examples_are_solved_for_as_mllib_solved_them(spark: Any) -> None:
    counts = item_counts(examples(spark, ROWS))
    found = {(r["example"], r["item"]): r["events"] for r in counts.collect()}
    assert found == {(n, i): k for n, row in enumerate(ROWS) for i, k in Counter(row).items() if i > 2}
    model = fit(counts)
    items, users = ({r["id"]: r["features"] for r in fitted.collect()}
                    for fitted in (model.itemFactors, model.userFactors))
    factors_ID = np.zeros((8, model.rank))
    factors_ID[list(items)] = list(items.values())
    item_N, length_B = np.concatenate(ROWS), np.array([len(row) for row in ROWS])
    (histories,) = histories_until(item_N, length_B, np.isin(np.arange(len(item_N)), length_B.cumsum() - 1), 9)
    solved_HD = LatentFactors(factors_ID).solve(histories)
    assert solved_HD[:4] == pytest.approx(np.array([users[n] for n in range(4)]), abs=1e-4)
    assert not solved_HD[4].any()
    again = {r["item"]: r["factors"] for r in item_factors(examples(spark, ROWS)).collect()}
    assert again == items


def test_nothing_to_fit_on_gives_no_factors(spark: Any) -> None:
    assert item_factors(examples(spark, [[1, 2], []])).toArrow().num_rows == 0
