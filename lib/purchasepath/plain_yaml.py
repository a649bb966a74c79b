"""YAML as people read it: values are what is written, and a key stands once.

YAML's own typing turns ids into other ids (`010` into 8, `0.00` into 0.0, `12:30` into 750, `1_000` into 1000), words
into answers (`no`, `on`) and days into objects. Here every value is text as written, but for `null`, `~` and nothing at
all; whoever declares a knob says what it is, and reads `3`, `true` or `2024-01-01` accordingly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from purchasepath.errors import ConfigError

_STR, _SEQ, _MAP, _NULL, _MERGE = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map", "null", "merge"))


class KeyTwiceError(yaml.YAMLError):
    """Keys that stand twice in one mapping, each with its lines."""


class _AsWritten(yaml.SafeLoader):
    """Knows text, lists, mappings and null; every other type has to be asked for by a tag, and is refused."""


_AsWritten.yaml_implicit_resolvers = {}
_AsWritten.yaml_constructors = {
    kind: yaml.SafeLoader.yaml_constructors[kind] for kind in (_STR, _SEQ, _MAP, _NULL, None)}
for _word in ("", "~", "null"):
    _AsWritten.add_implicit_resolver(_NULL, re.compile(f"^{_word}$"), [_word[:1]])
_AsWritten.add_implicit_resolver(_MERGE, re.compile("^<<$"), ["<"])


def read_yaml(text: str) -> Any:
    """The one document in `text`: dicts, lists, text and None. Raises yaml.YAMLError, for doubles KeyTwiceError."""
    loader = _AsWritten(text)
    try:
        document = loader.get_single_node()
        if document is None:
            return None
        doubles = list(_doubles(document, set()))
        if doubles:
            raise KeyTwiceError("; ".join(doubles))
        return loader.construct_document(document)
    except RecursionError:
        raise yaml.YAMLError("brackets are nested too deeply") from None
    finally:
        loader.dispose()


def read_sections(file: Path) -> dict[str, Any]:
    """The content of a configuration file: a mapping. Raises ConfigError for all others."""
    try:
        content = read_yaml(file.read_text(encoding="utf-8")) or {}
    except KeyTwiceError as doubles:
        raise ConfigError([f"{file}: {doubles}; keep one of them"]) from None
    except OSError as failure:
        raise ConfigError([f"{file} cannot be read ({failure.strerror}); give --config an existing file"]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as failure:
        raise ConfigError([f"{file} is not YAML: {failure}"]) from None
    if not isinstance(content, dict):
        raise ConfigError([f"{file} holds a {type(content).__name__}; expected `section:` with `key: value` below"])
    return content


def _doubles(node: yaml.Node, seen: set[int]) -> Iterator[str]:
    """`key` is given twice (lines 1 and 3), for every such key in and below the node."""
    if id(node) in seen:  # an alias
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for element in node.value:
            yield from _doubles(element, seen)
    elif isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if str(key.value) in first:
                yield f"`{key.value}` is given twice (lines {first[key.value]} and {line})"
            first[str(key.value)] = line
            yield from _doubles(value, seen)
