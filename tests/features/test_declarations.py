"""The declarations and what derives from them."""

from __future__ import annotations

import pytest

from purchasepath.analyses.catalog import ALL_TABLES
from purchasepath.features.inputs import EVENT_INPUTS, SESSION_INPUTS
from purchasepath.tables.features import (
    FEATURE_TABLES,
    ITEM_FEATURES_DECLARED,
    SESSION_FEATURES_DECLARED,
    USER_FEATURE_NAMES,
    USER_FEATURES,
    USER_FEATURES_DECLARED,
    Feature,
    check_features,
)
from purchasepath.tables.tasks import label_features


def test_every_input_that_a_feature_or_label_reads_exists_and_every_input_is_read() -> None:
    declared = USER_FEATURES_DECLARED + ITEM_FEATURES_DECLARED + label_features()
    of_events = {f.input for f in declared if not f.derived}
    of_sessions = {f.input for f in SESSION_FEATURES_DECLARED if not f.derived}
    assert of_events == EVENT_INPUTS.keys()
    assert of_sessions <= SESSION_INPUTS.keys()
    assert SESSION_INPUTS.keys() - EVENT_INPUTS.keys() <= of_sessions


def test_feature_tables_are_in_the_catalog_and_their_features_are_doubles_with_a_meaning() -> None:
    assert set(FEATURE_TABLES) <= set(ALL_TABLES)
    for table, features in zip(FEATURE_TABLES, (USER_FEATURES_DECLARED, ITEM_FEATURES_DECLARED,
                                                SESSION_FEATURES_DECLARED), strict=True):
        columns = [table.column(f.name) for f in features]
        assert {(c.type, c.nullable) for c in columns} == {("double", False)}
        assert all(f"{f.missing:g} where there is none" in c.meaning for f, c in zip(features, columns, strict=True))


def test_user_feature_names_stand_in_the_order_of_the_table() -> None:
    assert USER_FEATURES.names == ("user_id", "as_of", *USER_FEATURE_NAMES, "as_of_date")


@pytest.mark.parametrize(("wrong", "message"), [
    (Feature("views_1d", "user", "views", "sum", 1, "twice"), "declared twice"),
    (Feature("r", "user", "views_1d", "ratio", 1, "of nothing", over="nothing"), "nothing"),
    (Feature("views_90d", "user", "views", "sum", 90, "too long"), "expected 1 to 30"),
])
def test_a_declaration_that_cannot_work_is_refused(wrong: Feature, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_features((Feature("views_1d", "user", "views", "sum", 1, "views"), wrong))
