"""docs/tables.md, docs/configuration.md and the README's list of files, written from the code.

    python -m purchasepath.tables.docs [--check]

With --check nothing is written; exit code 2 where a page is not what the code would write.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from purchasepath.config import Config
from purchasepath.tables.catalog import DATASET_TABLES, TABLES
from purchasepath.tables.types import Column, Table

ROOT = Path(__file__).resolve().parents[3]
DIRECTORY = ROOT / "docs"
README = ROOT / "README.md"
FILES_BEGIN, FILES_END = "<!-- files: written by `make docs` -->", "<!-- end of files -->"
GENERATED = "<!-- Written by `make docs`; change the declarations, not this page. -->"


def tables_page(tables: Sequence[Table]) -> str:
    """One section per table: grain, writer, key, partitions, and a row per column."""
    contents = [f"- [{t.name}](#{t.name}): one row per {t.grain}" for t in tables]
    intro = ("All timestamps are UTC with microseconds. Prices and revenue are in the shop's own currency. "
             "Partition columns come last.")
    return "\n".join(["# Tables", "", GENERATED, "", intro, "", *contents, "", *(_table_section(t) for t in tables)])


def configuration_page() -> str:
    """One section per group of knobs: key, default, bounds and meaning."""
    intro = ("Every knob, with its default. Set one with `--set section.key=value`, or several in a YAML file given as "
             "`--config file.yaml`; later files win over earlier ones, and `--set` wins over files.")
    sections = [_config_section(name, field) for name, field in Config.model_fields.items()]
    return "\n".join(["# Configuration", "", GENERATED, "", intro, "", *sections])


def pages() -> dict[Path, str]:
    """Path and content of every generated page."""
    tables = (*TABLES, *DATASET_TABLES)
    return {DIRECTORY / "tables.md": tables_page(tables), DIRECTORY / "configuration.md": configuration_page(),
            README: with_files(README.read_text(encoding="utf-8"))}


def with_files(readme: str) -> str:
    """The README with its list of files brought up to date: one line per module, from its docstring's first line."""
    before, rest = readme.split(FILES_BEGIN)
    after = rest.split(FILES_END)[1]
    modules = [*sorted((ROOT / "jobs").glob("*.py")), *sorted((ROOT / "lib" / "purchasepath").rglob("*.py"))]
    lines: list[str] = []
    folder = None
    for file in sorted(modules, key=lambda f: (f.parent, f.name)):
        told = _first_line(file)
        if not told:
            continue
        if file.parent != folder:
            folder = file.parent
            lines.append(f"{folder.relative_to(ROOT)}/")
        lines.append(f"  {file.name:<22} {told}")
    return "\n".join([before + FILES_BEGIN, "```", *lines, "```", FILES_END + after])


def _first_line(file: Path) -> str:
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    return docstring.splitlines()[0] if docstring else ""


def stale_pages() -> list[Path]:
    """Pages whose file differs from what the code would write."""
    return [path for path, text in pages().items() if not path.is_file() or path.read_text(encoding="utf-8") != text]


def _table_section(table: Table) -> str:
    facts = [f"One row per {table.grain}. Written by `{table.written_by}`."]
    if table.key:
        facts.append(f"Key: {_code_list(table.key)}.")
    if table.partition_by:
        facts.append(f"Partitioned by {_code_list(table.partition_by)}.")
    if table.cluster_by:
        facts.append(f"Clustered by {_code_list(table.cluster_by)}.")
    rows = [f"| `{c.name}` | {c.type} | {_missing(c)} | {_cell(c.meaning)} |" for c in table.columns]
    return "\n".join([f"## {table.name}", "", " ".join(facts), "",
                      "| column | type | missing values | meaning |", "|---|---|---|---|", *rows, ""])


def _missing(column: Column) -> str:
    if column.default is not None:
        return f"become `{str(column.default).lower() if isinstance(column.default, bool) else column.default}`"
    return "null" if column.nullable else "never"


def _config_section(name: str, field: FieldInfo) -> str:
    section: Any = field.annotation
    assert issubclass(section, BaseModel)
    rows = [f"| `{key}` | {_value(knob)} | {_bounds(knob)} | {_cell(knob.description or '')} |"
            for key, knob in section.model_fields.items()]
    return "\n".join([f"## {name}", "", "| key | default | allowed | meaning |", "|---|---|---|---|", *rows, ""])


def _value(knob: FieldInfo) -> str:
    default = knob.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return "(required)"
    if isinstance(default, tuple):
        return f"`[{', '.join(map(str, default))}]`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _bounds(knob: FieldInfo) -> str:
    """`>= 1`, `one of a, b`, a pattern, or the plain type."""
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    bounds = [f"{sign} {getattr(rule, name)}" for name, sign in signs.items() for rule in knob.metadata
              if getattr(rule, name, None) is not None]
    choices = getattr(knob.annotation, "__args__", ())
    if choices and all(isinstance(choice, str) for choice in choices):
        return " or ".join(f"`{choice}`" for choice in choices)
    patterns = [f"`{_cell(rule.pattern)}`" for rule in knob.metadata if getattr(rule, "pattern", None)]
    plain: dict[Any, str] = {bool: "true or false", int: "whole number", float: "number", str: "text"}
    kind: Any = get_origin(knob.annotation) or knob.annotation
    return ", ".join(bounds or patterns or [plain.get(kind, "mapping" if kind is dict else "list")])


def _code_list(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or with --check name those that are stale."""
    if "--check" in arguments:
        stale = stale_pages()
        for path in stale:
            print(f"{path.relative_to(ROOT)} does not say what the code says; run: make docs", file=sys.stderr)
        return 2 if stale else 0
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
