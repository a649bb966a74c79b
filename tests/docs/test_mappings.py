"""docs/mappings.md: whole, and every example on it is a mapping that is read."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pyspark.sql import SparkSession

from purchasepath.docs.mappings import EXAMPLES, INTRO, PARTS, keys
from purchasepath.sources.expressions import check_expressions
from purchasepath.sources.mapping import Source

FIELDS = {"user_id": "visitor", "event_ts": "at", "event_type": "what"}


def whole(path: str, example: str) -> Source:
    """A mapping around the example of a part."""
    given: dict[str, Any] = yaml.safe_load(example)
    one: dict[str, Any] = {"format": "csv", "fields": FIELDS}
    if path == "inputs":
        one |= given
    elif path == "inputs.fields":
        one["fields"] = FIELDS | given
    elif path == "inputs.time":
        one["time"] = given
    top = given if path == "" else {"limits": given} if path == "limits" else {}
    return Source.model_validate({"name": "shop", "inputs": [one]} | top)


def test_every_key_has_a_meaning_and_an_example() -> None:
    assert {path: set(keys(path)) for path in PARTS} == {path: set(examples) for path, examples in EXAMPLES.items()}
    assert not [f"{path}.{name}" for path in PARTS for name, field in keys(path).items() if not field.description]


@pytest.mark.parametrize(("path", "key"), [(path, key) for path, examples in EXAMPLES.items() for key in examples])
def test_every_example_is_read_and_shows_its_key(spark: SparkSession, path: str, key: str) -> None:
    assert key in EXAMPLES[path][key]
    check_expressions(spark, whole(path, EXAMPLES[path][key]))


def test_mapping_at_the_top_is_read() -> None:
    assert Source.model_validate({"name": "shop"} | yaml.safe_load(INTRO.split("```yaml")[1].split("```")[0]))
