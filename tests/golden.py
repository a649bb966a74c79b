"""What a pipeline leaves, in numbers that are compared with those of the commit before: `tests/golden/<name>.json`.

Of every table its rows, and of every column a digest of all its values, or of decimal numbers mean and spread. What a
training has its hands in is compared with a tolerance: other processors and builds of torch round differently.

After a change on purpose: PURCHASEPATH_GOLDEN=write make test, and say in the commit what changed and why.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyspark.sql.functions as F
import pyspark.sql.types as T
import pytest
from pyspark.sql import Column, DataFrame

from purchasepath.bundle.bundle import Bundle

DIRECTORY = Path(__file__).with_name("golden")
OF_A_RUN = {"run_id", "ingest_run", "last_ingest_run", "finished_at", "file", "model_version", "fingerprint"}
"""Columns that name a run, a moment, a place, or files by their names."""
EXACT, LEARNED = 1e-9, 2e-2
"""Relative tolerances: sums in another order; and a model that was trained somewhere else."""


def facts_of(rows: DataFrame, *, learned: bool = False) -> dict[str, Any]:
    """Rows, and per column its digest, or [mean, spread]. `learned`: only of decimal numbers."""
    columns = [field for field in rows.schema if field.name not in OF_A_RUN
               and (_is_decimal(field.dataType) or not learned)]
    found = rows.agg(F.count(F.lit(1)).alias("rows"), *(_fact(field).alias(field.name) for field in columns)).first()
    assert found is not None
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.asDict().items()}


def facts_of_bundle(bundle: Bundle) -> dict[str, list[float]]:
    """Number, norm and largest of each tensor's weights."""
    return {name: [weights.numel(), float(weights.float().norm()), float(weights.float().abs().max())]
            for name, weights in sorted(bundle.build().state_dict().items()) if weights.numel()}


def compare(name: str, found: Mapping[str, Mapping[str, Any]], learned: Iterable[str]) -> None:
    """Raises AssertionError, naming table and column, where something is not as it was."""
    file, tolerant = DIRECTORY / f"{name}.json", set(learned)
    if os.environ.get("PURCHASEPATH_GOLDEN") == "write":
        DIRECTORY.mkdir(exist_ok=True)
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert {table: list(facts) for table, facts in found.items()} == \
        {table: list(facts) for table, facts in kept.items()}, "other tables or columns"
    off = {f"{table}.{column}": f"{value}, not {kept[table][column]}" for table, facts in found.items()
           for column, value in facts.items() if not _alike(value, kept[table][column], learned=table in tolerant)}
    assert not off, off


def _alike(found: Any, kept: Any, *, learned: bool) -> bool:
    if not isinstance(found, list) or None in found:
        return bool(found == kept)
    return bool(found == pytest.approx(kept, rel=LEARNED if learned else EXACT, abs=1e-3 if learned else 1e-9))


def _fact(field: T.StructField) -> Column:
    column, kind = F.col(f"`{field.name}`"), field.dataType
    if not _is_decimal(kind):
        text = F.to_json(column) if isinstance(kind, T.MapType) else column
        return F.sum(F.xxhash64(text).cast("decimal(38,0)")).cast("string")
    number = F.aggregate(column, F.lit(0.0), lambda total, value: total + F.coalesce(value, F.lit(0.0))) \
        if isinstance(kind, T.ArrayType) else column
    return F.struct(F.avg(number), F.stddev_pop(number))


def _is_decimal(kind: T.DataType) -> bool:
    return isinstance(kind.elementType if isinstance(kind, T.ArrayType) else kind, T.DoubleType | T.FloatType)
