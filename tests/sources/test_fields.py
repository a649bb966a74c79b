"""Strings become typed values, or null where they are none."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyspark.sql.functions as F
import pytest
from pyspark.sql import SparkSession

from purchasepath.sources.fields import our_event_type, parse_time, typed_value
from purchasepath.sources.mapping import TimeFormat

MICROS = 1_000_000


def micros(*at: int) -> int:
    return round(datetime(*at, tzinfo=UTC).timestamp() * MICROS)  # type: ignore[arg-type, misc]


def parsed(spark: SparkSession, kind: str, texts: list[str | None], time: TimeFormat | None = None) -> list[Any]:
    """Values of the texts, in order; times as microseconds since 1970."""
    frame = spark.createDataFrame(list(enumerate(texts)), "n int, text string").coalesce(1)
    value = typed_value(F.col("text"), kind, time or TimeFormat())
    shown = F.unix_micros(value) if kind == "timestamp" else value
    return [row[0] for row in frame.orderBy("n").select(shown).collect()]


@pytest.mark.parametrize(
    ("time", "texts", "expected"),
    [
        (
            TimeFormat(format="epoch_ms"),
            ["1439665586000", "-1", "1e400", "x", "", None, "999999999999999999999"],
            [1_439_665_586 * MICROS, None, None, None, None, None, None],
        ),
        (TimeFormat(format="epoch_s"), ["1541599523.25", "0"], [1_541_599_523_250_000, 0]),
        (TimeFormat(format="epoch_us"), ["1541599523000001"], [1_541_599_523_000_001]),
        (
            TimeFormat(),
            [
                "2024-01-01T00:06:08.684424Z",
                "2024-01-01 00:06:08",
                "2024-01-01T01:00:00+01:00",
                "2024-01-01T00:00:00z",
                "2023-12-31 20:00:00 America/La_Paz",
                "12:30",
                "2024",
                "2024-02-30",
                "2024-01-01",
            ],
            [
                micros(2024, 1, 1, 0, 6, 8, 684424),
                micros(2024, 1, 1, 0, 6, 8),
                micros(2024, 1, 1),
                micros(2024, 1, 1),
                micros(2024, 1, 1),
                None,
                None,
                None,
                micros(2024, 1, 1),
            ],
        ),
        (
            TimeFormat(zone="Europe/Berlin"),
            ["2024-07-01 02:00:00", "2024-07-01T02:00:00Z", "2024-01-01 02:00:00"],
            [micros(2024, 7, 1), micros(2024, 7, 1, 2), micros(2024, 1, 1, 1)],
        ),
        (
            TimeFormat(zone="Europe/Berlin"),  # the zone a text names counts, in whatever form; no text is moved twice
            ["2023-01-01 10:00:00+01", "2023-01-01 10:00:00+01:00", "2023-01-01T10:00:00 Europe/Berlin",
             "2023-01-01 10:00:00 CET", "2023-01-01T09:00:00UT", "2023-01-01T10:00+1:00", "2023-01-01T10:00:00+0100",
             "2023-01-01T10 UTC+1", "2023-01-01T10:00:00.0+01:00:00", "2023-01-01 10:00", "2023-01-01T09:00:00z",
             "2023-01-01", "2023-01-01 10:00:00 Nowhere", "2023-01-01 10:00:00:00", "2023-01-01x"],
            [micros(2023, 1, 1, 9)] * 11 + [micros(2022, 12, 31, 23), None, None, None],
        ),
        (
            TimeFormat(format="yyyy-MM-dd HH:mmXXX", zone="Europe/Berlin"),
            ["2024-01-01 10:00+01:00", "2024-01-01 10:00Z", "2024-01-01 10:00"],
            [micros(2024, 1, 1, 9), micros(2024, 1, 1, 10), None],
        ),
        (
            TimeFormat(format="yyyy-MM-dd HH:mm[:ss][ VV]", zone="Europe/Berlin"),
            ["2024-01-01 10:00 UTC", "2024-01-01 10:00:00", "2024-01-01 10:00"],
            [micros(2024, 1, 1, 10), micros(2024, 1, 1, 9), micros(2024, 1, 1, 9)],
        ),
        (
            TimeFormat(format="yyyy-MM-dd HH:mm:ss 'UTC'"),
            ["2019-10-01 00:00:01 UTC", "2019-10-01 00:00:01"],
            [micros(2019, 10, 1, 0, 0, 1), None],
        ),
        (
            TimeFormat(format="dd.MM.yyyy HH:mm", zone="America/New_York"),
            ["31.01.2024 19:00", "31.13.2024 19:00"],
            [micros(2024, 2, 1), None],
        ),
        (
            TimeFormat(format="yyyyMMdd"),
            ["20240101", "20240229", "20230229", "2024-01-01"],
            [micros(2024, 1, 1), micros(2024, 2, 29), None, None],
        ),
        (
            TimeFormat(zone="Europe/Berlin"),  # an hour that the clocks leave out, and one that they show twice
            ["2024-03-31 02:30:00", "2024-10-27 02:30:00", "2024-10-27 03:00:00"],
            [micros(2024, 3, 31, 1, 30), micros(2024, 10, 27, 0, 30), micros(2024, 10, 27, 2)],
        ),
        (
            TimeFormat(format="dd.MM.yyyy HH:mm", zone="Europe/Berlin"),
            ["31.03.2024 02:30", "27.10.2024 02:30", "27.10.2024 03:00"],
            [micros(2024, 3, 31, 1, 30), micros(2024, 10, 27, 0, 30), micros(2024, 10, 27, 2)],
        ),
    ],
    ids=["ms", "s", "us", "iso", "iso zone", "every zone", "offset", "perhaps a zone", "pattern", "pattern zone",
         "day", "iso clock change", "pattern clock change"],
)
def test_time(spark: SparkSession, time: TimeFormat, texts: list[str | None], expected: list[int | None]) -> None:
    assert parsed(spark, "timestamp", texts, time) == expected


@pytest.mark.parametrize(
    ("kind", "texts", "expected"),
    [
        ("int", ["2", "2.0", "2.5", "-3", "x", "99999999999", "NaN", "1e300", None, "3f"],
         [2, 2, None, -3] + [None] * 6),
        ("double", ["21.55", "1e3", "12,50", "", None, "1d", "2.5F", "0x1p3"], [21.55, 1000.0] + [None] * 6),
        ("boolean", ["true", "False", "1", "no", "maybe", None], [True, False, True, False, None, None]),
        ("string", ["x", None], ["x", None]),
    ],
)
def test_value(spark: SparkSession, kind: str, texts: list[str | None], expected: list[Any]) -> None:
    assert parsed(spark, kind, texts) == expected


def test_event_words(spark: SparkSession) -> None:
    frame = spark.createDataFrame([("addtocart",), ("AddToCart",), (None,)], "word string").coalesce(1)
    words = {"addtocart": "cart", "transaction": "purchase"}
    assert [row[0] for row in frame.select(our_event_type(F.col("word"), words)).collect()] == ["cart", None, None]


def test_time_column_of_a_frame_is_a_timestamp(spark: SparkSession) -> None:
    for form in ("iso", "epoch_ms", "yyyy-MM-dd"):
        frame = spark.range(0).select(parse_time(F.lit("x"), TimeFormat(format=form)).alias("at"))
        assert frame.schema["at"].dataType.simpleString() == "timestamp"


@pytest.mark.parametrize(("form", "local"), [
    ("yyyy-MM-dd", "yyyy-MM-dd"), ("yyyy-MM-dd HH:mmX", None), ("yyyy HH[ z]", "yyyy HH"), ("yyyy 'XV'", "yyyy 'XV'"),
    ("[yyyy]XXX[HH]", None),
])
def test_pattern_of_texts_without_a_zone(form: str, local: str | None) -> None:
    assert TimeFormat(format=form).without_zone == local


@pytest.mark.parametrize(("form", "message"), [
    ("yyyy-MM-dd'T'HH:mm'Z'", "leave out the wrong one"), ("yyyy[[ ]X]", "brackets")])
def test_pattern_that_says_two_things_is_refused(form: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TimeFormat(format=form, zone="Europe/Berlin")
