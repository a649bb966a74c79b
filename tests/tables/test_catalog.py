"""The catalog's own promises: keys, meanings, types that every engine reads."""

from __future__ import annotations

import re

import pytest

from purchasepath.analyses.catalog import ALL_TABLES
from purchasepath.docs.tables import tables_page
from purchasepath.stages import STAGES
from purchasepath.tables.catalog import DATASET_TABLES, EVENT_TYPES, EVENTS, SESSIONS
from purchasepath.tables.types import Table

DECLARED = (*ALL_TABLES, *DATASET_TABLES)
PORTABLE = re.compile(r"(array<)?(string|int|bigint|double|float|boolean|timestamp|date)>?$")


def test_names_are_unique() -> None:
    names = [t.name for t in DECLARED]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("table", DECLARED, ids=lambda t: t.name)
def test_a_table_is_fully_declared(table: Table) -> None:
    assert table.grain
    assert table.written_by in {stage.name for stage in STAGES}
    assert len(set(table.names)) == len(table.names)
    assert not [c.name for c in table.columns if not c.meaning]
    assert not [c.name for c in table.columns if not PORTABLE.match(c.type)]
    assert not [c.name for c in table.columns if not re.fullmatch(r"[a-z][a-z0-9_]*", c.name)]


@pytest.mark.parametrize("table", DECLARED, ids=lambda t: t.name)
def test_partition_columns_are_never_null(table: Table) -> None:
    assert not [name for name in table.partition_by if table.column(name).nullable]


def test_events_and_sessions_name_the_same_user() -> None:
    assert EVENTS.column("user_id").type == SESSIONS.column("user_id").type == "string"


def test_event_types_are_in_the_order_that_examples_are_coded_in() -> None:
    assert EVENT_TYPES[:3] == ("search", "category", "view")  # changing it invalidates every trained bundle
    assert len(EVENT_TYPES) == 8


def test_the_page_shows_every_table_and_column() -> None:
    page = tables_page(DECLARED)
    for table in DECLARED:
        section = page.split(f"\n## {table.name}\n")[1].split("\n## ")[0]
        assert not [name for name in table.names if f"| `{name}` |" not in section]
