"""Path and content of every generated page."""

from __future__ import annotations

from pathlib import Path

from purchasepath.analyses.catalog import ALL_TABLES
from purchasepath.docs.configuration import configuration_page
from purchasepath.docs.files import files_page
from purchasepath.docs.mappings import mappings_page
from purchasepath.docs.stages import LAUNCHER_TEXT, stages_table
from purchasepath.docs.tables import tables_page
from purchasepath.docs.writing import DIRECTORY, ROOT, with_block
from purchasepath.stages import help_text
from purchasepath.tables.catalog import DATASET_TABLES

README = ROOT / "README.md"


def pages() -> dict[Path, str]:
    """What the code says now."""
    tables = (*ALL_TABLES, *DATASET_TABLES)
    return {
        DIRECTORY / "tables.md": tables_page(tables),
        DIRECTORY / "configuration.md": configuration_page(),
        DIRECTORY / "mappings.md": mappings_page(),
        DIRECTORY / "files.md": files_page(),
        README: with_block(README.read_text(encoding="utf-8"), "stages", stages_table(tables)),
        LAUNCHER_TEXT: help_text(),
    }


def stale_pages() -> list[Path]:
    """Pages whose file differs from what the code would write."""
    return [path for path, text in pages().items() if not path.is_file() or path.read_text(encoding="utf-8") != text]


def write_pages() -> None:
    """All of them."""
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
