"""The list of analyses: complete, named after their files, shown once."""

from __future__ import annotations

from collections import Counter
from importlib import import_module

import pytest

from purchasepath.analyses.analysis import Analysis, Findings
from purchasepath.analyses.catalog import ALL_TABLES, ANALYSES, REPORT
from purchasepath.tables.catalog import SESSIONS, TABLES, USER_KEYS
from tests.rules.reading import PACKAGE


def test_every_file_with_an_analysis_is_in_the_list_by_its_name() -> None:
    files = {file.stem: import_module(f"purchasepath.analyses.{file.stem}")
             for file in (PACKAGE / "analyses").glob("[!_]*.py")}
    declared = {name: module.ANALYSIS for name, module in files.items() if hasattr(module, "ANALYSIS")}
    assert {analysis.name: analysis for analysis in ANALYSES} == declared
    assert len(ANALYSES) == len(declared)


def test_panels_have_names_of_their_own_and_all_are_shown() -> None:
    shown = Counter(panel.name for panel in REPORT.panels)
    assert shown == Counter(panel.name for analysis in ANALYSES for panel in analysis.panels)
    assert set(shown.values()) == {1}


def test_panels_ask_tables_that_there_are() -> None:
    assert {table for query in REPORT.queries for table in query.tables} <= set(ALL_TABLES)
    assert len({table.name for table in ALL_TABLES}) == len(ALL_TABLES) > len(TABLES)


@pytest.mark.parametrize("table", [SESSIONS, USER_KEYS], ids=lambda table: table.name)
def test_an_analysis_writes_tables_of_its_own_without_secrets(table: object) -> None:
    with pytest.raises(ValueError, match="expected tables written by analyze"):
        Analysis("mine", (), (table,), lambda inputs: Findings({}))  # type: ignore[arg-type]
