"""docs/tables.md: a section per table, from its declaration."""

from __future__ import annotations

from collections.abc import Sequence

from purchasepath.docs.writing import GENERATED, cell, code_list, plain
from purchasepath.tables.types import Column, Table


def tables_page(tables: Sequence[Table]) -> str:
    """One section per table: grain, writer, key, partitions, and a row per column."""
    contents = [f"- [{t.name}](#{t.name}): one row per {t.grain}" for t in tables]
    intro = ("All timestamps are UTC with microseconds. Prices and revenue are in the shop's own currency. "
             "Partition columns come last.")
    return "\n".join(["# Tables", "", GENERATED, "", intro, "", *contents, "", *(_section(t) for t in tables)])


def _section(table: Table) -> str:
    facts = [f"One row per {table.grain}. Written by `{table.written_by}`."]
    if table.key:
        facts.append(f"Key: {code_list(table.key)}.")
    if table.partition_by:
        facts.append(f"Partitioned by {code_list(table.partition_by)}.")
    if table.cluster_by:
        facts.append(f"Clustered by {code_list(table.cluster_by)}.")
    rows = [f"| `{c.name}` | {c.type} | {_missing(c)} | {cell(c.meaning)} |" for c in table.columns]
    return "\n".join([f"## {table.name}", "", " ".join(facts), "",
                      "| column | type | missing values | meaning |", "|---|---|---|---|", *rows, ""])


def _missing(column: Column) -> str:
    if column.default is not None:
        return f"become {plain(column.default)}"
    return "null" if column.nullable else "never"
