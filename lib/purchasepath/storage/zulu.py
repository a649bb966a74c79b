"""Times as a query prints them: text that says that it is UTC."""

from __future__ import annotations

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame
from pyspark.sql.types import ArrayType, DataType, MapType, StructType, TimestampType


def with_zulu_times(frame: DataFrame) -> DataFrame:
    """The frame with its points in time, also those within arrays, maps and structs, as `2023-01-01T10:00:00.5Z`.

    Spark writes the text, so that it also holds for years that Python lacks.
    """
    fields = frame.schema.fields
    if not any(_holds_times(field.dataType) for field in fields):
        return frame
    numbered = frame.toDF(*(f"_{i}" for i in range(len(fields))))  # a query may give two columns one name
    return numbered.select(*(_as_zulu(F.col(f"_{i}"), f.dataType).alias(f.name) for i, f in enumerate(fields)))


def _as_zulu(value: Column, kind: DataType) -> Column:
    if not _holds_times(kind):
        return value
    match kind:
        case TimestampType():
            return F.concat(F.translate(value.cast("string"), " ", "T"), F.lit("Z"))
        case ArrayType():
            return F.transform(value, lambda element: _as_zulu(element, kind.elementType))
        case MapType():
            keys = F.transform_keys(value, lambda key, _: _as_zulu(key, kind.keyType))
            return F.transform_values(keys, lambda _, inner: _as_zulu(inner, kind.valueType))
        case StructType():
            inner = F.struct(*(_as_zulu(value.getField(f.name), f.dataType).alias(f.name) for f in kind.fields))
            return F.when(value.isNotNull(), inner)
    return value


def _holds_times(kind: DataType) -> bool:
    match kind:
        case ArrayType():
            return _holds_times(kind.elementType)
        case MapType():
            return _holds_times(kind.keyType) or _holds_times(kind.valueType)
        case StructType():
            return any(_holds_times(field.dataType) for field in kind.fields)
    return isinstance(kind, TimestampType)
