"""docs/mappings.md: every key of a mapping, its default, its meaning and an example, from the mapping's model."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from purchasepath.docs.writing import GENERATED, cell, plain
from purchasepath.sources.expressions import FUNCTIONS
from purchasepath.sources.mapping import FIELDS, FieldSpec, Input, Limits, Source, TimeFormat
from purchasepath.tables.catalog import EVENT_TYPES

PARTS: dict[str, tuple[type[BaseModel], str]] = {
    "": (Source, "The file, by its name without `.yaml`, is the source."),
    "inputs": (Input, "A list: files of one shape each."),
    "inputs.fields": (FieldSpec, "`fields` names a column of EVENTS on the left. On the right stands a column of the "
                                 "source, or a mapping of these keys, one of `column`, `constant`, `sql` among them."),
    "inputs.time": (TimeFormat, "Of `event_ts` and `arrived_at`."),
    "limits": (Limits, ""),
}

EXAMPLES: dict[str, dict[str, str]] = {
    "": {
        "description": "description: clicks of the old shop",
        "limits": "limits: {earliest: 2015-01-01, price: [0, 5000]}",
        "ignore": 'ignore: ["archive/*", "*.md"]',
        "inputs": "inputs: [{format: csv, fields: {user_id: visitor, event_ts: at, event_type: what}}]",
    },
    "inputs": {
        "name": "name: purchases",
        "files": 'files: "*purchase*.csv*"',
        "optional": "optional: true",
        "format": "format: csv",
        "delimiter": 'delimiter: ";"',
        "quote": "quote: \"'\"",
        "comment": 'comment: "#"',
        "header": "{header: false, columns: [visitor, at, what]}",
        "columns": "{header: false, columns: [visitor, at, what, item]}",
        "time": "time: {format: epoch_ms}",
        "repeats": "repeats: events",
        "sequence": "sequence: step",
        "events": "events: {click: view, addtocart: cart, buy: purchase}",
        "fields": "fields: {user_id: visitor, event_ts: at, event_type: {constant: purchase}, item_id: product}",
    },
    "inputs.fields": {
        "column": "item_id: {column: subject}",
        "constant": "event_type: {constant: purchase}",
        "sql": "category: {sql: \"coalesce(code, 'none')\", uses: [code]}",
        "uses": "item_id: {sql: \"get_json_object(items, '$[0].id')\", uses: [items]}",
        "only_for": "query: {column: subject, only_for: [search]}",
        "missing": 'price: {column: price, missing: ["0.00", "-"]}',
    },
    "inputs.time": {
        "format": 'format: "dd.MM.yyyy HH:mm[:ss]"',
        "zone": "zone: Europe/Berlin",
    },
    "limits": {
        "earliest": "earliest: 2015-01-01",
        "latest": "latest: 2025-01-01",
        "price": "price: [0, 5000]",
        "quantity": "quantity: [1, 500]",
    },
}

INTRO = """A mapping says how a shop's raw files become rows of [EVENTS](tables.md#events), as data:
`conf/sources/<name>.yaml`, or a file of your own given by its path:
`./spark-submit.sh ingest --set ingest.source=<name or path>`.

```yaml
description: clicks of the old shop
inputs:
  - format: csv
    time: {format: epoch_ms}
    events: {click: view, buy: purchase}
    fields: {user_id: visitor, event_ts: at, event_type: what, item_id: product}
```"""

TEXTS = """## What is read

- Text in UTF-8, plain or packed as its name says (`.gz`, `.bz2`). A file that is something else (ZIP, Excel,
  UTF-16, …) is named with what to do. Files and directories whose names begin with `.` or `_` are left out, unless a
  path names them.
- A csv record is a line, or what its quotes hold together. A file in which a line does not close its quotes is
  read whole, by one task: at most 1 GiB, 128 MiB if packed. The same holds of a JSON file that is one array.
- Parquet columns may differ in type from file to file. Every value becomes its exact text: an id is `13085` in a
  column of whole numbers, doubles, decimals and words; times keep their microseconds. A time stored as an
  instant is not moved by `zone`.
- `agent` is the request's user agent, where a source has it: sessions in which one names itself a crawler's
  (`Googlebot/2.1`, `curl/8.5.0`) are flagged as bots'.
- Without `event_id`, an event's id is a hash of its row's text: rows that are equal are one event, or with
  `repeats: events` as many as one file holds.
- A visitor's events of one instant (one second, or one day, as times are written) stay in the order in which a file has
  them. Where its times run backwards (the newest row first), and between files, they are in the order of event types
  told above; among equal ones of two files the id decides. A column that numbers them is named by `sequence`."""

SQL = """## Functions in `sql`

`sql` is an expression of Spark SQL over the columns in `uses`, all of them strings: a value of one row. Operators,
`case`, `cast`, `try_cast`, `in`, `between`, `like`, `rlike`, lambdas and these functions are allowed; subqueries,
aggregates, windows and all else are not. A cast that fails on a row ends the job with a message; `try_cast` gives
null."""


def mappings_page() -> str:
    """The page."""
    sections = [_section(path, part, words) for path, (part, words) in PARTS.items()]
    types = ", ".join(f"`{name}`" for name in EVENT_TYPES)
    columns = ", ".join(f"`{name}`" for name in FIELDS)
    functions = ", ".join(f"`{name}`" for name in sorted(FUNCTIONS))
    words = f"Event types of ours: {types}. Columns of EVENTS: {columns}."
    return "\n".join(["# Source mappings", "", GENERATED, "", INTRO, "", words, "", TEXTS, "", *sections,
                      SQL, "", functions, ""])


def keys(path: str) -> dict[str, FieldInfo]:
    """The keys that a part of a mapping may hold."""
    return {name: field for name, field in PARTS[path][0].model_fields.items() if (path, name) != ("", "name")}


def _section(path: str, part: type[BaseModel], words: str) -> str:
    rows = [f"| `{name}` | {_default(field)} | {cell(field.description or '')} | `{cell(EXAMPLES[path][name])}` |"
            for name, field in keys(path).items()]
    return "\n".join([f"## {path or 'Top level'}", "", *([words, ""] if words else []),
                      "| key | default | meaning | example |", "|---|---|---|---|", *rows, ""])


def _default(field: FieldInfo) -> str:
    default: Any = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return "(required)"
    if default is None or default in ("", (), {}) or isinstance(default, BaseModel):
        return "none" if not isinstance(default, BaseModel) else "see below"
    return plain(default)
