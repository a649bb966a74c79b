"""docs/configuration.md: every knob, from the configuration's model."""

from __future__ import annotations

from typing import Any, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from purchasepath.config import Config
from purchasepath.docs.writing import GENERATED, cell, plain


def configuration_page() -> str:
    """One section per group of knobs: key, default, bounds and meaning."""
    intro = ("Every knob, with its default. Set one with `--set section.key=value`, or several in a YAML file given as "
             "`--config file.yaml`; later files win over earlier ones, and `--set` wins over files.")
    sections = [_section(name, field) for name, field in Config.model_fields.items()]
    return "\n".join(["# Configuration", "", GENERATED, "", intro, "", *sections])


def _section(name: str, field: FieldInfo) -> str:
    section: Any = field.annotation
    assert issubclass(section, BaseModel)
    rows = [f"| `{key}` | {_value(knob)} | {_bounds(knob)} | {cell(knob.description or '')} |"
            for key, knob in section.model_fields.items()]
    return "\n".join([f"## {name}", "", "| key | default | allowed | meaning |", "|---|---|---|---|", *rows, ""])


def _value(knob: FieldInfo) -> str:
    default = knob.get_default(call_default_factory=True)
    return "(required)" if default is PydanticUndefined else plain(default)


def _bounds(knob: FieldInfo) -> str:
    """`>= 1`, `one of a, b`, a pattern, or the plain type."""
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    bounds = [f"{sign} {getattr(rule, name)}" for name, sign in signs.items() for rule in knob.metadata
              if getattr(rule, name, None) is not None]
    choices = getattr(knob.annotation, "__args__", ())
    if choices and all(isinstance(choice, str) for choice in choices):
        return " or ".join(f"`{choice}`" for choice in choices)
    patterns = [f"`{cell(rule.pattern)}`" for rule in knob.metadata if getattr(rule, "pattern", None)]
    plain_types: dict[Any, str] = {bool: "true or false", int: "whole number", float: "number", str: "text"}
    kind: Any = get_origin(knob.annotation) or knob.annotation
    return ", ".join(bounds or patterns or [plain_types.get(kind, "mapping" if kind is dict else "list")])
